"""Generates the Python modules of this package from its .proto files.

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
SOURCES = ("runtime.proto", "coracle.proto")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


class GenerationFailed(Exception):
    """The compiler did not accept a .proto file; the message is its own."""


def generated_names() -> tuple[str, ...]:
    return tuple(source.removesuffix(".proto") + suffix for source in SOURCES for suffix in SUFFIXES)


def generate(destination: Path) -> None:
    """Write the modules to `destination`/cri/api. Raises GenerationFailed."""
    import_root = PACKAGE.parent.parent
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    # protoc looks for its mypy plug-in on PATH: the one beside this interpreter is the one that is wanted.
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    outputs = [f"--{kind}_out={destination}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    done = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{import_root}", f"-I{well_known}", *outputs]
        + [f"cri/api/{source}" for source in SOURCES],
        cwd=import_root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise GenerationFailed(done.stderr.strip())


def stale() -> tuple[str, ...]:
    """Names of the modules in the tree that differ from what `generate` would write."""
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        fresh = Path(temporary, "cri", "api")
        return tuple(
            name
            for name in generated_names()
            if not (PACKAGE / name).exists() or (PACKAGE / name).read_bytes() != (fresh / name).read_bytes()
        )


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m cri.api.generate [--check]\n")
        return 2
    if not arguments:
        generate(PACKAGE.parent.parent)
        return 0
    names = stale()
    for name in names:
        sys.stderr.write(f"cri/api/{name} is not up to date: run python -m cri.api.generate\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
