"""Debian packages as directory trees: fetched by apt, unpacked, never installed. For bundles, and for tests' programs.

Which version is Debian's choice at the time; it is recorded, and a package that lies in the store is not fetched again,
so that a second build has the same parts.

    STORE/
    ├── NAME_VERSION_ARCHITECTURE.deb
    └── NAME_VERSION_ARCHITECTURE/       the unpacked package
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


class PackageMissing(Exception):
    """A Debian package that apt does not hand out."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"debian package {name} cannot be had: {reason}")
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    name: str
    version: str
    source: str
    """The source package, with its version where that differs."""
    file: Path
    tree: Path
    depends: tuple[str, ...]
    """Names in Depends and Pre-Depends; of alternatives the first."""

    @property
    def sha256(self) -> str:
        """Of the file, read for this."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()


class PackageStore:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, names: Sequence[str]) -> tuple[Package, ...]:
        """Fetches what is not there, in one call of apt. Raises PackageMissing."""
        missing = [name for name in names if self._file(name) is None]
        if missing:
            self._directory.mkdir(parents=True, exist_ok=True)
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
            command = ["apt-get", "download", "-qq", *missing]
            done = subprocess.run(command, cwd=self._directory, env=environment, capture_output=True, text=True)
            lost = [name for name in missing if self._file(name) is None]
            if lost:
                raise PackageMissing(lost[0], done.stderr.strip() or "apt-get download left no file")
        return tuple(self._open(name) for name in names)

    def copyright(self, package: Package) -> Path | None:
        """Debian's copyright file; the whole directory may be a link to that of another package of the same source."""
        directory = package.tree / "usr/share/doc" / package.name
        if directory.is_symlink():
            (other,) = self.get([directory.readlink().name])
            directory = other.tree / "usr/share/doc" / other.name
        path = directory / "copyright"
        return path if path.is_file() else None

    def _file(self, name: str) -> Path | None:
        files = sorted(self._directory.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)
        return files[-1] if files else None

    def _open(self, name: str) -> Package:
        file = self._file(name)
        assert file is not None
        tree = file.with_suffix("")
        if not tree.is_dir():
            partial = file.with_suffix(f".{os.getpid()}")
            subprocess.run(["dpkg-deb", "--extract", str(file), str(partial)], check=True)
            partial.rename(tree)
        fields = _fields(file)
        return Package(
            name=name,
            version=fields["Version"],
            source=fields.get("Source", name),
            file=file,
            tree=tree,
            depends=tuple(_names(f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}")),
        )


def python_of_release() -> str:
    """The name of Debian's interpreter, such as python3.11: what its package python3 stands for."""
    command = ["apt-cache", "show", "--no-all-versions", "python3"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    found = re.search(r"^Depends:.*?\b(python3\.\d+)\b", done.stdout, re.MULTILINE)
    if found is None:
        raise PackageMissing("python3", "apt-cache names no interpreter; is this Debian, with its package lists?")
    return found.group(1)


def _fields(file: Path) -> dict[str, str]:
    done = subprocess.run(["dpkg-deb", "--field", str(file)], check=True, capture_output=True, text=True)
    pairs = (line.partition(": ") for line in done.stdout.splitlines() if not line.startswith(" "))
    return {name: value.strip() for name, _, value in pairs}


def _names(field: str) -> Iterator[str]:
    for clause in field.split(","):
        if name := re.split(r"[\s:(|]", clause.strip(), maxsplit=1)[0]:
            yield name
