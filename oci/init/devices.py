"""Device nodes and links in the container's /dev, in the child. Parents are descriptors; nothing is followed, and only
what the step says is replaced."""

from __future__ import annotations

import errno
import os
import stat

from oci import mounts
from oci import syscalls as sc
from oci.init import paths
from oci.init.context import Context
from oci.plan import operations as op
from oci.spec import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

_KINDS: Final = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def make_device(step: op.MakeDevice, context: Context) -> None:
    device = step.device
    parent, name = paths.split_last(device.path)
    directory = _directory(parent, context)
    if step.bind:
        if not _exists(device, name, directory):
            _bind(step, name, directory, context)
        return
    mode = _KINDS[device.type] | (0o666 if device.file_mode is None else device.file_mode & 0o7777)
    try:
        os.mknod(name, mode, os.makedev(device.major, device.minor), dir_fd=directory)
    except FileExistsError:
        if not _exists(device, name, directory):
            raise
        return
    except PermissionError:
        if device.type == "p":
            raise
        _bind(step, name, directory, context)
        return
    if device.uid or device.gid:
        os.chown(name, device.uid or 0, device.gid or 0, dir_fd=directory, follow_symlinks=False)


def make_nodes(steps: Iterable[op.MakeDevice], context: Context, label: str = "") -> None:
    """Nodes for a container that may make none itself, on a file system that only their mounts keep alive.

    Where we may not either, or the kernel clones no part of a detached mount (before 6.15), the host's nodes serve.
    """
    parameters = ("mode=700", f"context={label}") if label else ("mode=700",)
    tree = mounts.make_filesystem("tmpfs", "devices", parameters)
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=tree)
    try:
        for number, step in enumerate(steps):
            device, name = step.device, str(number)
            mode = _KINDS[device.type] | (0o666 if device.file_mode is None else device.file_mode & 0o7777)
            os.mknod(name, mode, os.makedev(device.major, device.minor), dir_fd=directory)
            assert step.owner is not None
            os.chown(name, *step.owner, dir_fd=directory, follow_symlinks=False)
            context.sources[step] = mounts.clone_tree(directory, name)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EINVAL):
            raise
    finally:
        os.close(directory)
        os.close(tree)


def make_symlink(step: op.MakeSymlink, context: Context) -> None:
    parent, name = paths.split_last(step.path)
    directory = _directory(parent, context)
    try:
        os.symlink(step.target, name, dir_fd=directory)
    except FileExistsError:
        if step.replace and _replaceable(name, directory):
            os.unlink(name, dir_fd=directory)
            os.symlink(step.target, name, dir_fd=directory)


def _directory(path: str, context: Context) -> int:
    """Most nodes share a parent, so the last one stays open. A mount in between would make it stale, so steps that
    mount forget it."""
    if context.directory[0] != path:
        if context.directory[1] >= 0:
            os.close(context.directory[1])
        made = paths.make_directories(context.root, path)
        if path.partition("/")[0] == "dev":
            # Where an image's link leads has no business being filled with devices, though it cannot lead outside.
            os.close(made)
            try:
                made = paths.open_without_links(context.root, path, os.O_PATH | os.O_DIRECTORY)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                raise OSError(errno.EPERM, f"/{path} is not a plain directory in the root filesystem")
        context.directory = (path, made)
    return context.directory[1]


def _replaceable(name: str, directory: int) -> bool:
    return not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


def _exists(device: Device, name: str, directory: int) -> bool:
    """Whether the very node is there; a different file in its place is an error (config-linux.md, "Devices")."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    same_kind = stat.S_IFMT(status.st_mode) == _KINDS[device.type]
    if same_kind and (device.type == "p" or status.st_rdev == os.makedev(device.major, device.minor)):
        return True
    raise FileExistsError(errno.EEXIST, "a file of another kind is in the place of the device", device.path)


def _bind(step: op.MakeDevice, name: str, directory: int, context: Context) -> None:
    """The node made for us, else the host's at the same path, checked for its numbers."""
    device = step.device
    mount = context.sources.pop(step, -1)
    if mount < 0:
        mount = mounts.clone_tree(sc.AT_FDCWD, device.path)
    status = os.fstat(mount)
    if status.st_rdev != os.makedev(device.major, device.minor) or stat.S_IFMT(status.st_mode) != _KINDS[device.type]:
        raise OSError(errno.ENODEV, "the host's node has other numbers, and a new one may not be made", device.path)
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o666, dir_fd=directory))
    target = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
    sc.mount_setattr(mount, set=sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NOEXEC, propagation=sc.MS_PRIVATE)
    sc.move_mount(mount, target)
    os.close(mount)
    os.close(target)
