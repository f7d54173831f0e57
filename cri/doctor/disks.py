"""Where images and pods' files lie: enough space and inodes, a file system that survives a power cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from cri.config.schema import Settings
from cri.doctor.node import Node
from cri.doctor.result import Result, fail, ok, warn
from oci.values import frozen

_GROUP: Final = "disks"
_LEAST_FREE: Final = 0.10
_NO_FREE: Final = 0.01
_JOURNALS: Final = "/proc/fs/jbd2"
_JOURNALED: Final = frozenset(("ext4", "ext3", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs"))


@frozen
class Space:
    """Shares of one."""

    free: float
    free_inodes: float
    bytes_free: int


Measure = Callable[[Path], Space | None]


def nearest(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def measure(path: Path) -> Space | None:
    """Of the file system of `path`, or of the nearest directory above it that exists."""
    try:
        status = os.statvfs(nearest(path))
    except OSError:
        return None
    blocks, files = status.f_blocks or 1, status.f_files
    return Space(
        free=status.f_bavail / blocks,
        free_inodes=status.f_favail / files if files else 1.0,
        bytes_free=status.f_bavail * status.f_frsize,
    )


def checks(node: Node, settings: Settings, measured: Measure) -> Iterator[Result]:
    for path in (settings.root, settings.runroot):
        if (space := measured(node.path(path))) is None:
            yield warn(_GROUP, str(path), "cannot be looked at", "does a directory above it exist?")
            continue
        yield _amount(str(path), "space", space.free, f"{space.bytes_free / 1e9:.1f} GB free")
        yield _amount(str(path), "inodes", space.free_inodes, f"{space.free_inodes:.0%} free")
    yield _file_system(node, settings.root)


def _amount(path: str, kind: str, share: float, seen: str) -> Result:
    name = f"{kind} of {path}"
    if share < _NO_FREE:
        return fail(_GROUP, name, seen, "make room: nothing can be pulled or started")
    if share < _LEAST_FREE:
        return warn(_GROUP, name, seen, "make room: below 10 % the kubelet evicts pods and removes images")
    return ok(_GROUP, name, seen)


def _file_system(node: Node, root: Path) -> Result:
    name = f"file system of {root}"
    kind, device = _mount_of(node, root)
    if kind == "overlay":
        return fail(_GROUP, name, "overlay", "choose a root elsewhere: overlays cannot lie on overlays")
    if kind == "tmpfs":
        return warn(_GROUP, name, "tmpfs", "images are in memory, and gone after a reboot")
    if kind == "ext4" and device and not any(journal.startswith(f"{device}-") for journal in node.names(_JOURNALS)):
        return warn(_GROUP, name, "ext4 without a journal", f"tune2fs -O has_journal /dev/{device}, unmounted")
    if kind in _JOURNALED:
        return ok(_GROUP, name, kind)
    return warn(_GROUP, name, kind or "unknown", "not one that Coracle is tested on: ext4, xfs or btrfs")


def _mount_of(node: Node, path: Path) -> tuple[str, str]:
    """Type and device of the mount that `path` lies on: the longest mount point above it, of equals the last.

    The device by the kernel's name, which jbd2's directories have; "" where it is none of this host.
    """
    best, kind, number = "", "", ""
    for line in (node.read("/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) < 6 or len(rest) < 3:
            continue
        point = fields[4]
        inside = point == "/" or str(path) == point or str(path).startswith(f"{point}/")
        if inside and len(point) >= len(best):
            best, kind, number = point, rest[0], fields[2]
    try:
        return kind, os.path.basename(os.readlink(node.path(f"/sys/dev/block/{number}")))
    except OSError:
        return kind, ""
