"""Programs of Debian packages, from trees below .cache/debian/: nothing is installed or configured, no service starts.

So a test can use nginx or containerd on a machine without changing it. The trees are `deploy.bundle.packages`'.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from deploy.bundle.packages import PackageMissing, PackageStore
from e2e.paths import CACHE

__all__ = ["PackageMissing", "program", "tree", "with_libraries"]

_STORE: Final = PackageStore(CACHE / "debian")
_LIBRARY: Final = re.compile(r"^(lib|zlib)")


def tree(name: str) -> Path:
    """The unpacked package `name`."""
    (package,) = _STORE.get([name])
    return package.tree


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
    trees: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop(0)
        if current not in trees:
            (package,) = _STORE.get([current])
            trees[current] = package.tree
            waiting += [dependency for dependency in package.depends if _LIBRARY.match(dependency)]
    return tuple(trees.values())
