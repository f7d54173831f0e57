"""Detached mounts: made, cloned and changed by descriptor. A few lines above the system calls; no policy.

Used by a container's init and by the image service; nothing here touches a mount table until the caller moves the
descriptor somewhere with `syscalls.move_mount`.
"""

from __future__ import annotations

import os

from oci import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def make_filesystem(
    fstype: str, source: str | None = None, parameters: Iterable[str] = (), *, attributes: int = 0
) -> int:
    """A new file system as a detached mount; returns its descriptor.

    `parameters` are mount(8) options of the file system itself, "key=value" or "flag"; a value has at most 255 bytes
    (fsconfig's limit). `attributes` are MOUNT_ATTR_ bits.
    """
    fs = sc.fsopen(fstype)
    try:
        if source is not None:
            sc.fsconfig(fs, sc.FSCONFIG_SET_STRING, "source", source)
        for parameter in parameters:
            key, separator, value = parameter.partition("=")
            if separator:
                sc.fsconfig(fs, sc.FSCONFIG_SET_STRING, key, value)
            else:
                sc.fsconfig(fs, sc.FSCONFIG_SET_FLAG, key)
        sc.fsconfig(fs, sc.FSCONFIG_CMD_CREATE)
        return sc.fsmount(fs, attributes)
    finally:
        os.close(fs)


def clone_tree(dirfd: int, path: str = "", *, recursive: bool = False, follow: bool = True) -> int:
    """A detached copy of the mount at `path` (with an empty path: of the descriptor itself), which must lie in the
    caller's mount namespace. Symlinks in `path` are followed, the last one only with `follow`."""
    flags = sc.OPEN_TREE_CLONE
    if recursive:
        flags |= sc.AT_RECURSIVE
    if not path:
        flags |= sc.AT_EMPTY_PATH
    if not follow:
        flags |= sc.AT_SYMLINK_NOFOLLOW
    return sc.open_tree(dirfd, path, flags)


def set_attributes(mount: int, set_bits: int, clear_bits: int = 0, *, recursive: bool = False) -> None:
    """Change MOUNT_ATTR_ bits of a mount, or of it and all below. Does nothing when there is nothing to change."""
    if set_bits or clear_bits:
        sc.mount_setattr(mount, flags=_flags(recursive), set=set_bits, clear=clear_bits)


def set_propagation(mount: int, flag: int, *, recursive: bool = False) -> None:
    """`flag` is one of MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE."""
    sc.mount_setattr(mount, flags=_flags(recursive), propagation=flag)


def set_idmap(mount: int, userns_fd: int, *, recursive: bool = False) -> None:
    """Translate owners through the user namespace's mappings; only on a detached mount."""
    sc.mount_setattr(mount, flags=_flags(recursive), set=sc.MOUNT_ATTR_IDMAP, userns_fd=userns_fd)


def _flags(recursive: bool) -> int:
    return sc.AT_EMPTY_PATH | (sc.AT_RECURSIVE if recursive else 0)
