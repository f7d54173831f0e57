"""A bundle, step by step: interpreter, commands, wheels, our packages, what belongs to them, compiled, described."""

from __future__ import annotations

import platform
import re
import shutil
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.bundle.archive import source_date
from deploy.bundle.compile import compile_modules, preload_verbs
from deploy.bundle.completion import write_completion, write_profile
from deploy.bundle.entry import write_commands
from deploy.bundle.interpreter import Interpreter
from deploy.bundle.manifest import LICENCES, write_checksums, write_manifest
from deploy.bundle.packages import PackageStore, python_of_release
from deploy.bundle.wheels import Wheel, WheelStore, unpack
from deploy.image.document import Platform

PROJECT: Final = Path(__file__).resolve().parents[2]

# Where a directory of the project goes in share/, when the project has it.
_SHARED: Final = {
    "deploy/systemd": "systemd",
    "examples": "examples",
}
_DOCUMENTS: Final = ("README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "NOTICE", "docs/install.md")
# Parts of the C library once: extensions that were linked against an old one still name them, and those of a companion
# site are not looked through here.
_STUBS: Final = ("libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1")
_SITE_SUFFIXES: Final = frozenset((".py", ".pyi", ".proto", ".json", ".toml", ".service", ".conf", ".c", ".txt", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSettings:
    output: Path
    """The directory in which the bundle's own directory is made."""
    cache: Path
    """Packages and wheels are kept here."""
    compiler: str | None = None
    project: Path = PROJECT
    architecture: str = field(default_factory=lambda: Platform.here().architecture)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    version: str
    packages: tuple[str, ...]
    requirements: tuple[str, ...]
    extras: dict[str, list[str]]

    @classmethod
    def read(cls, directory: Path) -> Project:
        document = tomllib.loads((directory / "pyproject.toml").read_text())
        project = document["project"]
        return cls(
            version=project["version"],
            packages=tuple(document["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]),
            requirements=tuple(project["dependencies"]),
            extras=project["optional-dependencies"],
        )


class Bundle:
    """One being built. `build` does all; the steps are apart for tests that need less than all."""

    def __init__(self, settings: BundleSettings) -> None:
        self.settings = settings
        self.project = Project.read(settings.project)
        self.root = settings.output / f"coracle-{self.project.version}-linux-{settings.architecture}"
        self._store = PackageStore(settings.cache / "debian")
        self._wheels = WheelStore(settings.cache / "wheels", settings.project / "constraints.txt")
        self._placed: list[Wheel] = []
        self.interpreter = Interpreter(self.root, python_of_release(), self._store)

    def build(self) -> Path:
        """Answers the bundle's directory; one that is there already is replaced."""
        self.place_interpreter()
        self.place_wheels(self.project.requirements)
        self.place_packages(self.project.packages)
        self.place_shared()
        compile_modules(self.root, [self.root / "lib" / self.interpreter.name, self.root / "site"], base=self.root)
        preload_verbs(self.root)
        write_completion(self.root)
        write_profile(self.root)
        self.describe()
        return self.root

    def place_interpreter(self) -> None:
        if self.root.exists():
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True)
        linked = write_commands(self.root, self._store, self.settings.compiler)
        self.interpreter.packages[linked.name] = linked
        self.interpreter.place()

    def place_wheels(self, requirements: Sequence[str]) -> None:
        """`requirements` and what they need; and the libraries that their extensions name."""
        for wheel in self._wheels.get(self.interpreter.python, requirements):
            unpack(wheel, self.root / "site", self.root / LICENCES)
            self._placed.append(wheel)
        self.interpreter.add_libraries(*_STUBS)

    def companion_site(self, directory: Path, requirements: Sequence[str]) -> Path:
        """`requirements` and what they need beyond this bundle's packages, compiled, in a directory beside it."""
        here = {wheel.name for wheel in self._wheels.get(self.interpreter.python, self.project.requirements)}
        for wheel in self._wheels.get(self.interpreter.python, requirements):
            if wheel.name not in here:
                unpack(wheel, directory, directory / "licences")
        compile_modules(self.root, [directory], base=directory.parent)
        return directory

    def place_packages(self, names: Iterable[str]) -> None:
        for name in names:
            for path in sorted((self.settings.project / name).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts and path.suffix in _SITE_SUFFIXES:
                    _copy(path, self.root / "site" / path.relative_to(self.settings.project))

    def place_shared(self) -> None:
        for source, target in _SHARED.items():
            for path in sorted((self.settings.project / source).glob("*")):
                if path.is_file() and path.suffix != ".py":
                    _copy(path, self.root / "share" / target / path.name)
        for name in _DOCUMENTS:
            if (path := self.settings.project / name).is_file():
                _copy(path, self.root / "share/doc" / path.name)

    def describe(self) -> None:
        about: dict[str, str | int] = {
            "name": "coracle",
            "version": self.project.version,
            "licence": "Apache-2.0",
            "os": "linux",
            "architecture": self.settings.architecture,
            "machine": platform.machine(),
            "kernel": "5.10 or newer",
            "python": self.interpreter.name,
            "source_date_epoch": source_date(),
        }
        wheels = sorted(self._placed, key=lambda wheel: re.sub(r"[-_.]+", "-", wheel.name).lower())
        packages = {package: self._store.copyright(package) for package in self.interpreter.packages.values()}
        write_manifest(self.root, about, packages, wheels)
        _settle_modes(self.root)
        write_checksums(self.root)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _settle_modes(root: Path) -> None:
    """Executable or not, and nothing else of what the builder's umask and checkout had."""
    root.chmod(0o755)
    for path in root.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
        elif not path.is_symlink():
            executable = path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
