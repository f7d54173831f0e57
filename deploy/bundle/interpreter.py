"""The interpreter in the bundle: Debian's, with the libraries that it and every extension names, and their loader.

The C library and its loader must be of one build, so both come along: that is why the bundle runs on a node whose own
C library is older, newer, or not glibc at all.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from deploy.bundle.elf import linkage
from deploy.bundle.packages import Package, PackageStore

LOADER: Final = "coracle-loader"

# ctypes loads it by name, so that no ELF file says it is needed.
SECCOMP: Final = "libseccomp.so.2"
_SEEDS: Final = ("libseccomp2", "libstdc++6")
# No terminal's line editor, no desktop, no sound, no tests; and what only installs other packages. pydoc stays: the
# kubernetes client imports it.
_NO_EXTENSIONS: Final = re.compile(
    r"^(_test|_xx|xx|_ctypes_test|_curses|_dbm|_gdbm|_tkinter|nis\b|nis\.|ossaudiodev|readline|audioop|_crypt)"
)
_NO_MODULES: Final = frozenset(
    (
        *("__pycache__", "EXTERNALLY-MANAGED", "LICENSE.txt", "sitecustomize.py"),
        *("ensurepip", "venv", "distutils", "lib2to3", "test", "pydoc_data"),
        *("tkinter", "idlelib", "turtle.py", "turtledemo", "curses", "dbm", "antigravity.py", "this.py"),
    )
)


class LibraryMissing(Exception):
    """No package that was looked at has a shared library that something needs."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(f"no debian package has {', '.join(sorted(names))}")


class Interpreter:
    """Debian's `name` (python3.11) for the bundle at `root`; `packages` grows with the libraries that are added."""

    def __init__(self, root: Path, name: str, store: PackageStore) -> None:
        self.root = root
        self.name = name
        self._store = store
        self.packages: dict[str, Package] = {}
        """Those of which the bundle holds something."""

    @property
    def python(self) -> Path:
        return self.root / "bin/python3"

    def place(self) -> None:
        """The program, the standard library and the loader."""
        seeds = (f"{self.name}-minimal", f"lib{self.name}-minimal", f"lib{self.name}-stdlib")
        for package in self._store.get(seeds):
            self._keep(package)
        program = self.packages[seeds[0]].tree / "usr/bin" / self.name
        (self.root / "libexec").mkdir(parents=True, exist_ok=True)
        shutil.copy(program, self.root / "libexec/python3")
        for seed in seeds[1:]:
            tree = self.packages[seed].tree / "usr/lib" / self.name
            shutil.copytree(tree, self.root / "lib" / self.name, ignore=_ignored, dirs_exist_ok=True, symlinks=True)
        for link in [path for path in (self.root / "lib" / self.name).rglob("*") if path.is_symlink()]:
            link.unlink()  # into /etc or /usr/share, which a bundle has not
        self.add_libraries(SECCOMP)

    def add_libraries(self, *names: str) -> None:
        """Copies what the ELF files below the root, and `names`, need and the bundle has not yet. LibraryMissing."""
        directory = self.root / "lib"
        sources = _Libraries(self._store, (*self._roots(), *_SEEDS))
        waiting = {*names, *self._unresolved()}
        while waiting:
            for name in sorted(waiting):
                package, file = sources.find(name)
                self._keep(package)
                target = directory / (LOADER if name.startswith("ld-linux") else name)
                shutil.copy(file, target)
                target.chmod(0o755)
            waiting = self._unresolved()

    def _roots(self) -> Sequence[str]:
        return tuple(name for package in self.packages.values() for name in package.depends)

    def _keep(self, package: Package) -> None:
        self.packages.setdefault(package.name, package)

    def _unresolved(self) -> set[str]:
        """Libraries named below the root that are neither in lib/ nor beside who names them."""
        files = [path for path in self.root.rglob("*") if _is_elf(path)]
        present = {path.name for path in files}
        named = {name for path in files if path.parent.name != "bin" for name in linkage(path).needed}
        loaders = {name for name in named if name.startswith("ld-linux")} if LOADER in present else set()
        return named - present - loaders


class _Libraries:
    """Finds libraries by name in packages and in those that they depend on, fetched a generation at a time."""

    def __init__(self, store: PackageStore, seeds: Sequence[str]) -> None:
        self._store = store
        self._files: dict[str, tuple[Package, Path]] = {}
        self._seen: set[str] = set()
        self._next: list[str] = list(seeds)

    def find(self, name: str) -> tuple[Package, Path]:
        while name not in self._files:
            wanted = sorted({entry for entry in self._next if re.match(r"lib|zlib", entry)} - self._seen)
            if not wanted:
                raise LibraryMissing([name])
            self._next = []
            for package in self._store.get(wanted):
                self._seen.add(package.name)
                self._next += package.depends
                for file in sorted(package.tree.rglob("*.so*")):
                    if file.is_file() and "gconv" not in file.parts:
                        self._files.setdefault(file.name, (package, file))
        return self._files[name]


def _ignored(directory: str, names: list[str]) -> set[str]:
    unwanted = {name for name in names if name in _NO_MODULES or name.startswith("config-")}
    if Path(directory).name == "lib-dynload":
        unwanted |= {name for name in names if _NO_EXTENSIONS.match(name)}
    return unwanted


def _is_elf(path: Path) -> bool:
    if (
        not path.is_file()
        or path.is_symlink()
        or not (path.suffix == ".so" or ".so." in path.name or "." not in path.name)
    ):
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
