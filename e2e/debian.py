"""Debian packages as directory trees: downloaded with apt, unpacked below .cache/debian/, never installed.

Nothing is configured and no service starts, so a test can use nginx or containerd on a machine without changing it.
A tree is kept and found again by the package's file name, which holds its version.

    .cache/debian/
    ├── NAME_VERSION_ARCH.deb
    └── NAME_VERSION_ARCH/       the unpacked package
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from e2e.paths import CACHE

_STORE: Final = CACHE / "debian"
_LIBRARY: Final = re.compile(r"^(lib|zlib)")


class PackageMissing(Exception):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"debian package {name} cannot be had: {reason}")
        self.name = name


def tree(name: str) -> Path:
    """The unpacked package `name`."""
    package = _download([name])[name]
    target = package.with_suffix("")
    if not target.is_dir():
        partial = package.with_suffix(".partial")
        subprocess.run(["rm", "-rf", str(partial)], check=True)
        subprocess.run(["dpkg-deb", "--extract", str(package), str(partial)], check=True)
        partial.rename(target)
    return target


def program(package: str, *candidates: str) -> Path:
    """A program of a package: the first of `candidates` (paths inside the package) that exists."""
    root = tree(package)
    for candidate in candidates:
        path = root / candidate
        if path.exists():
            return path
    raise PackageMissing(package, f"it has none of {', '.join(candidates)}")


def with_libraries(name: str) -> tuple[Path, ...]:
    """The trees of `name` and of every library package that it needs, itself first."""
    order: list[str] = []
    waiting = [name]
    while waiting:
        current = waiting.pop(0)
        if current in order:
            continue
        order.append(current)
        waiting += [dependency for dependency in _dependencies(current) if _LIBRARY.match(dependency)]
    return tuple(tree(entry) for entry in order)


def _dependencies(name: str) -> Iterable[str]:
    """Names in the package's Depends field; of alternatives the first."""
    package = _download([name])[name]
    field = subprocess.run(
        ["dpkg-deb", "--field", str(package), "Depends", "Pre-Depends"], check=True, capture_output=True, text=True
    ).stdout
    for line in field.splitlines():
        for clause in line.partition(":")[2].split(","):
            first = clause.split("|")[0].strip()
            if first:
                yield re.split(r"[\s:(]", first, maxsplit=1)[0]


def _download(names: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    _STORE.mkdir(parents=True, exist_ok=True)
    for name in names:
        have = _newest(name)
        if have is None:
            problem = _run(["apt-get", "download", "-qq", name], _STORE)
            have = _newest(name)
            if have is None:
                raise PackageMissing(name, problem or "apt-get download left no file")
        found[name] = have
    return found


def _newest(name: str) -> Path | None:
    candidates = sorted(_STORE.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)
    return candidates[-1] if candidates else None


def _run(command: Sequence[str], directory: Path) -> str | None:
    """None when the command succeeded, else what it said."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip()
