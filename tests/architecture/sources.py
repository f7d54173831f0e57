"""The files of the project, for the tests that read them: those that git knows or would add."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
GENERATED: Final = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
_SKIPPED: Final = {".git", ".venv", ".cache", "__pycache__", "build", "dist", "node_modules"}


@cache
def files() -> tuple[Path, ...]:
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        return tuple(path for name in listing.stdout.splitlines() if (path := ROOT / name).is_file())
    return tuple(_walk())


def python_files(package: str) -> tuple[Path, ...]:
    """Hand-written modules below a top-level directory."""
    top = ROOT / package
    return tuple(
        path for path in files() if path.suffix == ".py" and top in path.parents and not path.name.endswith(GENERATED)
    )


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _walk() -> list[Path]:
    """Where git is missing: a source archive has no more than what git knew."""
    found = []
    for directory, names, leaves in os.walk(ROOT):
        names[:] = sorted(name for name in names if name not in _SKIPPED and not name.startswith("."))
        found += [Path(directory, leaf) for leaf in sorted(leaves)]
    return found
