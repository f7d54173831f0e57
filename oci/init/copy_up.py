"""tmpcopyup: a new tmpfs starts with a copy of what it covers. Works on descriptors, follows no links."""

from __future__ import annotations

import os
import stat
from typing import Final

_CHUNK: Final = 1 << 20


def copy_tree(source: int, target: int) -> None:
    """Copy the content of one directory into another, with owners, modes and times."""
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=target)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            below, copy = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
            copy_tree(below, copy)
            os.close(below)
            os.close(copy)
        elif kind == stat.S_IFREG:
            _copy_file(name, source, target)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
            os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target)


def _copy_file(name: str, source: int, target: int) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source)
    writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=target)
    while data := os.read(reader, _CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(writer, view) :]
    os.close(reader)
    os.close(writer)
