"""A network namespace given a name in the file system, where CNI plugins and `ip netns` find it.

`bind` makes the directory what `ip netns add` makes of it: a shared mount point, so that a name bound here is seen, and
gone again, in the mount namespaces that were made from this one. Whoever holds one of these names holds the namespace.
"""

from __future__ import annotations

import errno
import fcntl
import os

from oci import syscalls


def bind(path: str, namespace: str = "/proc/self/ns/net") -> None:
    """Bind-mount `namespace` at `path`, a file that is made for it. Raises OSError and leaves nothing behind."""
    _share(os.path.dirname(path))
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        syscalls.mount(namespace, path, None, syscalls.MS_BIND)
    except BaseException:
        os.unlink(path)
        raise


def remove(path: str) -> None:
    """Undo `bind`, or what there is of it; a name that does not exist is fine."""
    try:
        syscalls.umount2(path, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):  # no mount point, no file
            raise
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _share(directory: str) -> None:
    """A mount point with shared propagation; under a lock, for two shims may find it missing at once."""
    if _make_shared(directory):
        return
    os.makedirs(directory, mode=0o755, exist_ok=True)
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _make_shared(directory):
            syscalls.mount(directory, directory, None, syscalls.MS_BIND | syscalls.MS_REC)
            syscalls.mount(None, directory, None, syscalls.MS_SHARED | syscalls.MS_REC)
    finally:
        os.close(lock)


def _make_shared(directory: str) -> bool:
    try:
        syscalls.mount(None, directory, None, syscalls.MS_SHARED | syscalls.MS_REC)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        return False
    return True
