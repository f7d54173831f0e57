"""Generates the Python modules of this package, and of `cri.nri.api`, from their .proto files.

    python -m cri.api.generate            writes them into the tree
    python -m cri.api.generate --check    writes nothing; lists those that are out of date, and ends with exit code 1

Needs grpcio-tools and mypy-protobuf, which only developers have. The protos are compiled from the directory that holds
the package `cri`, so the descriptor pool knows them as `cri/api/<name>.proto` and no other `runtime.proto` collides.
"""

from __future__ import annotations

import importlib.resources
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent
IMPORT_ROOT = PACKAGE.parent.parent
SERVICES = ("cri/api/runtime.proto", "cri/api/coracle.proto")
#: Messages only: their services are not spoken over gRPC.
MESSAGES = ("cri/nri/api/nri.proto", "cri/nri/api/ttrpc.proto")
MESSAGE_SUFFIXES = ("_pb2.py", "_pb2.pyi")
SERVICE_SUFFIXES = (*MESSAGE_SUFFIXES, "_pb2_grpc.py", "_pb2_grpc.pyi")


class GenerationFailed(Exception):
    """The compiler did not accept a .proto file; the message is its own."""


def generated_names() -> tuple[str, ...]:
    """Paths of all generated modules below the directory that holds the package `cri`."""
    return tuple(
        source.removesuffix(".proto") + suffix
        for sources, suffixes in ((SERVICES, SERVICE_SUFFIXES), (MESSAGES, MESSAGE_SUFFIXES))
        for source in sources
        for suffix in suffixes
    )


def generate(destination: Path) -> None:
    """Write the modules to `destination`/cri. Raises GenerationFailed."""
    _compile(destination, SERVICES, ("python", "grpc_python", "mypy", "mypy_grpc"))
    _compile(destination, MESSAGES, ("python", "mypy"))


def _compile(destination: Path, sources: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    # protoc looks for its mypy plug-in on PATH: the one beside this interpreter is the one that is wanted.
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    done = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{IMPORT_ROOT}", f"-I{well_known}"]
        + [f"--{kind}_out={destination}" for kind in kinds]
        + list(sources),
        cwd=IMPORT_ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise GenerationFailed(done.stderr.strip())


def stale() -> tuple[str, ...]:
    """Paths of the modules in the tree that differ from what `generate` would write."""
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        return tuple(name for name in generated_names() if not _same(IMPORT_ROOT / name, Path(temporary, name)))


def _same(ours: Path, fresh: Path) -> bool:
    return ours.exists() and ours.read_bytes() == fresh.read_bytes()


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m cri.api.generate [--check]\n")
        return 2
    if not arguments:
        generate(IMPORT_ROOT)
        return 0
    names = stale()
    for name in names:
        sys.stderr.write(f"{name} is not up to date: run python -m cri.api.generate\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
