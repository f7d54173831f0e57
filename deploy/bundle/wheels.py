"""Wheels for the bundle: resolved and fetched by pip, which runs in the bundle's own interpreter; then unpacked.

So pip chooses for that interpreter and that C library, whatever runs this. Only wheels are taken, in the versions of
constraints.txt; nothing of them is executed.

    STORE/NAME-VERSION-TAGS.whl
"""

from __future__ import annotations

import email
import hashlib
import importlib.util
import os
import re
import stat
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

# Type stubs, sources of extensions and tests are of no use at run time.
_UNWANTED: Final = re.compile(r"\.(pyi|pyx|pxd|c|h|cpp|cc)$|(^|/)tests?/|\.dist-info/(RECORD|WHEEL|sboms/)|/py\.typed$")
_LICENCE: Final = re.compile(r"\.dist-info/(licenses/.*|LICEN[CS]E[^/]*|COPYING[^/]*|NOTICE[^/]*|AUTHORS[^/]*)$", re.I)
_PIP: Final = "import sys, runpy; sys.path.append(sys.argv.pop(1)); runpy.run_module('pip', run_name='__main__')"


class WheelsMissing(Exception):
    """pip found no wheels that satisfy the requirements."""

    def __init__(self, requirements: Sequence[str], output: str) -> None:
        super().__init__(f"no wheels for {', '.join(requirements)}: {output.strip()[-2000:]}")
        self.requirements = tuple(requirements)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    name: str
    version: str
    licence: str
    sha256: str
    file: Path


class WheelStore:
    def __init__(self, directory: Path, constraints: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._constraints = constraints

    def get(self, python: Path, requirements: Sequence[str]) -> tuple[Wheel, ...]:
        """The wheels of `requirements` and all that they need, in order of their names. Raises WheelsMissing."""
        wanted = "\n".join([*sorted(requirements), self._constraints.read_text(), python.parent.parent.name])
        record = self._directory / f"{hashlib.sha256(wanted.encode()).hexdigest()[:16]}.txt"
        if not record.exists():
            record.write_text("".join(f"{name}\n" for name in self._download(python, requirements)))
        return tuple(_read(self._directory / name) for name in record.read_text().split())

    def _download(self, python: Path, requirements: Sequence[str]) -> list[str]:
        pip = importlib.util.find_spec("pip")
        if pip is None or pip.origin is None:
            raise WheelsMissing(requirements, "this environment has no pip")
        partial = self._directory / f".download-{os.getpid()}"
        partial.mkdir()
        command = [str(python), "-I", "-S", "-c", _PIP, str(Path(pip.origin).parents[1]), "download", "--quiet"]
        command += ["--only-binary", ":all:", "--disable-pip-version-check", "--dest", str(partial)]
        command += ["--constraint", str(self._constraints), *requirements]
        done = subprocess.run(command, capture_output=True, text=True)
        try:
            if done.returncode:
                raise WheelsMissing(requirements, done.stderr or done.stdout)
            files = sorted(partial.iterdir(), key=lambda path: path.name.lower())
            for file in files:
                file.replace(self._directory / file.name)
            return [file.name for file in files]
        finally:
            subprocess.run(["rm", "-rf", str(partial)], check=True)


def unpack(wheel: Wheel, site: Path, licences: Path) -> None:
    """Modules to `site`, licence texts to `licences`/NAME/."""
    with zipfile.ZipFile(wheel.file) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            if _LICENCE.search(entry.filename):
                target = licences / wheel.name / PurePosixPath(entry.filename).name
            elif (place := _place(entry.filename)) is not None:
                target = site / place
            else:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))
            executable = target.suffix == ".so" or (entry.external_attr >> 16) & stat.S_IXUSR
            target.chmod(0o755 if executable else 0o644)


def _place(name: str) -> str | None:
    """Where a wheel's entry goes in site/; None for what is left out (PEP 427: .data/purelib are modules)."""
    if _UNWANTED.search(name):
        return None
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    kind, _, inner = rest.partition("/")
    return inner if kind in ("purelib", "platlib") else None


def _read(file: Path) -> Wheel:
    with zipfile.ZipFile(file) as archive:
        path = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        metadata = email.message_from_bytes(archive.read(path))
    return Wheel(
        name=str(metadata["Name"]),
        version=str(metadata["Version"]),
        licence=next(_licences(metadata.get_all("Classifier", []), metadata), "see the licence text"),
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        file=file,
    )


def _licences(classifiers: Sequence[str], metadata: email.message.Message) -> Iterator[str]:
    """The metadata's words on the licence, the most precise first; old packages put the whole text in `License`."""
    if expression := metadata.get("License-Expression"):
        yield str(expression)
    field = str(metadata.get("License", "")).strip()
    if field and "\n" not in field and len(field) < 80:
        yield field
    yield from (line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::"))
