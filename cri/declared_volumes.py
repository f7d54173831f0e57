"""VOLUMEs: directories that an image declares to be written to. Not the pod's volumes, nor images used as volumes.

With a writable root filesystem such a directory is simply there. A read-only one has a copy of it mounted, made in the
container's own directory with what the image has there, and removed with it. What the kubelet mounts wins.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import stat
from collections.abc import Mapping
from pathlib import Path

from cri.api import runtime_pb2 as api
from imagesvc.mounts import Owners
from oci import syscalls
from oci.init import paths
from oci.init.copy_up import copy_tree

# What is mounted here is the kernel's, or belongs to every container.
_TAKEN = ("/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def places(volumes: tuple[str, ...], config: api.ContainerConfig) -> tuple[str, ...]:
    """The places of an image's volumes, cleaned, without those at, or below, a mount of the container."""
    taken = {*_TAKEN, *(_clean(mount.container_path) for mount in config.mounts)}
    wanted = dict.fromkeys(_clean(path) for path in volumes)
    return tuple(path for path in wanted if path != "/" and not any(_below(path, other) for other in taken))


async def make(
    rootfs: int, places: tuple[str, ...], directory: Path, *, read_only: bool, owners: Owners | None
) -> Mapping[str, str]:
    """Place -> the host's directory to be mounted there; empty with a writable root filesystem. Raises OSError.

    `rootfs` is a descriptor of it: every path of the image is resolved in there (CVE-2022-23648).
    """
    if not places:
        return {}
    if not read_only:
        await asyncio.to_thread(_make_places, rootfs, places, owners)
        return {}
    return await asyncio.to_thread(_copy_places, rootfs, places, directory, owners)


def _make_places(rootfs: int, places: tuple[str, ...], owners: Owners | None) -> None:
    for place in places:
        try:
            fd = paths.make_directories(rootfs, place)
        except NotADirectoryError:
            continue  # the image has a file there, or on the way: it stays what it is
        with syscalls.closing(fd):
            if owners is not None and os.fstat(fd).st_uid == 0:  # we made it: no user of the image is the host's root
                os.chown(f"/proc/self/fd/{fd}", owners.uid, owners.gid)


def _copy_places(rootfs: int, places: tuple[str, ...], directory: Path, owners: Owners | None) -> Mapping[str, str]:
    made = {}
    for number, place in enumerate(places):
        copy = directory / "volumes" / str(number)
        copy.mkdir(parents=True)
        try:
            fd = paths.open_in_root(rootfs, place, os.O_RDONLY | os.O_DIRECTORY)
        except NotADirectoryError:
            continue
        except FileNotFoundError:
            if owners is not None:
                os.chown(copy, owners.uid, owners.gid)
        else:
            with syscalls.closing(fd):
                _copy(fd, copy)
        made[place] = str(copy)
    return made


def _copy(source: int, copy: Path) -> None:
    target = os.open(copy, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with syscalls.closing(target):
        copy_tree(source, target)
        status = os.fstat(source)
        os.fchown(target, status.st_uid, status.st_gid)
        os.fchmod(target, stat.S_IMODE(status.st_mode))


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _below(path: str, other: str) -> bool:
    return path == other or path.startswith(other.rstrip("/") + "/")
