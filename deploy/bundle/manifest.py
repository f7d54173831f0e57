"""What a bundle says of itself: every part with its version, origin and licence, and the digest of every file."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from deploy.bundle.packages import Package
from deploy.bundle.wheels import Wheel

MANIFEST: Final = "manifest.json"
CHECKSUMS: Final = "SHA256SUMS"
LICENCES: Final = "share/licences"


def write_manifest(
    root: Path,
    about: Mapping[str, str | int],
    packages: Mapping[Package, Path | None],
    wheels: Iterable[Wheel],
) -> None:
    """manifest.json and the packages' copyright files; `about` names the bundle itself."""
    debian = [_describe(package, packages[package], root) for package in sorted(packages, key=lambda one: one.name)]
    python = [
        {
            "name": wheel.name,
            "version": wheel.version,
            "file": wheel.file.name,
            "sha256": wheel.sha256,
            "licence": wheel.licence,
            "licence_texts": f"{LICENCES}/{wheel.name}",
        }
        for wheel in wheels
    ]
    document = {**about, "debian_packages": debian, "python_packages": python}
    (root / MANIFEST).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_checksums(root: Path) -> None:
    """SHA256SUMS as sha256sum(1) reads it, of every file but itself."""
    lines = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and path != root / CHECKSUMS:
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n")
    (root / CHECKSUMS).write_text("".join(lines))


def _describe(package: Package, copyright_file: Path | None, root: Path) -> dict[str, str]:
    entry = {
        "name": package.name,
        "version": package.version,
        "source": package.source,
        "sha256": package.sha256,
    }
    if copyright_file is not None:
        place = f"{LICENCES}/{package.name}"
        text = copyright_file.read_text(errors="replace")
        (root / place).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copyright_file, root / place / "copyright")
        names = dict.fromkeys(re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE))
        entry["licence"] = "; ".join(name.strip() for name in names) or "see the licence text"
        entry["licence_texts"] = place
    return entry
