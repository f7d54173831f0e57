"""This checkout as a disk for the guest: the sources, the images' registry, and what a caller adds (critest).

Made anew when a file has changed: writing a file system of some thousand files costs a second here, while copying them
over any share costs the guest half a minute.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from e2e.paths import CACHE, ROOT
from e2e.vm.image import STORE
from e2e.vm.images import fill

_SIZE: Final = "6G"
_TREES: Final = ("cni", "cri", "deploy", "e2e", "imagesvc", "oci", "tests", "examples")
_FILES: Final = ("pyproject.toml",)
_KEPT: Final = ("debian", "images", "oci-suite")


def source_disk(more: Mapping[str, Path] | None = None) -> Path:
    """`more` are further programs and trees, by their path inside the checkout."""
    more = more or {}
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    for name, path in sorted(more.items()):
        digest.update(f"{name}\0{path}\0{path.stat().st_mtime_ns}".encode())
    disk = STORE / f"source-{digest.hexdigest()[:12]}.raw"
    if not disk.exists():
        for old in STORE.glob("source-*.raw"):
            if not _in_use(old):
                old.unlink()
        with tempfile.TemporaryDirectory(dir=STORE, prefix="source-") as temporary:
            _write(Path(temporary), disk, more)
    return disk


def archive() -> bytes:
    """The sources as a tar file, for a guest that runs already; times are kept, so what is compiled there counts on."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in _sources():
            tar.add(path, arcname=str(path.relative_to(ROOT)))
    return packed.getvalue()


def _sources() -> list[Path]:
    found = [ROOT / name for name in _FILES]
    for tree in _TREES:
        found += [path for path in (ROOT / tree).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return found


def _write(directory: Path, disk: Path, more: Mapping[str, Path]) -> None:
    tree = directory / "tree"
    for path in _sources():
        target = tree / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    fill(tree / ".cache/registry")
    for name in _KEPT:
        if (CACHE / name).exists():
            subprocess.run(["cp", "-a", CACHE / name, tree / ".cache"], check=True)
    for name, path in more.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", path, tree / name], check=True)
    partial = disk.with_suffix(".partial")
    subprocess.run(["truncate", "-s", _SIZE, partial], check=True)
    subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-L", "source", "-d", tree, partial], check=True)
    partial.rename(disk)


def _in_use(disk: Path) -> bool:
    return any(str(disk) in facts.read_text() for facts in (STORE / "guests").glob("*/guest.json"))
