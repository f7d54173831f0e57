"""Where layers lie, and how one is begun, made visible and removed. Owns `<root>/layers` and `<root>/staging`.

    <root>/
      layers/<hex of the diffID>.erofs     a layer in EROFS form
      layers/<hex of the diffID>/          a layer in directory form
      layers/cover-<hex>[.erofs]           see `cover`
      layers/empty[.erofs]                 a layer of nothing, made at each start
      staging/<random>                     being written, or being removed; emptied at each start

Durable before visible: a layer is complete and synchronised before it is renamed into `layers`, and that directory is
synchronised before any record names the layer. Removal renames first, so a name never means half a layer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container
from pathlib import Path
from typing import Final, NewType

from imagesvc.digest import hex_of
from imagesvc.layer.directory import DirectoryLayer
from imagesvc.layer.erofs_file import ErofsFile
from imagesvc.layer.writer import LayerForm, LayerWriter

LayerId = NewType("LayerId", str)
"""A diffID, or `cover:HEX`."""

EMPTY: Final = LayerId("empty:")


def file_name(layer: LayerId, form: LayerForm) -> str:
    kind, _, encoded = layer.partition(":")
    stem = {"sha256": encoded, "empty": "empty"}.get(kind, f"{kind}-{encoded}")
    return f"{stem}.erofs" if form is LayerForm.EROFS else stem


def open_writer(path: Path, layer: LayerId, form: LayerForm) -> LayerWriter:
    if form is LayerForm.DIRECTORY:
        return DirectoryLayer(path)
    # Distinct file systems need distinct ids, or overlayfs mistrusts their inode numbers.
    return ErofsFile(path, uuid=bytes.fromhex(hex_of(layer)[:32]).ljust(16, b"\0"))


def publish(staged: Path, final: Path) -> None:
    """Make a finished layer visible, durably."""
    os.rename(staged, final)
    directory = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove(path: Path) -> None:
    """A file or a tree, or nothing."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(path)


def remove_both(staged: Path, final: Path) -> None:
    """Whatever a writer that failed has left of a layer."""
    remove(staged)
    remove(final)


def remove_all_but(directory: Path, names: Container[str]) -> None:
    for entry in sorted(directory.iterdir()):
        if entry.name not in names:
            remove(entry)
