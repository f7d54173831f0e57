"""A copy of a directory: what a new tmpfs covers (tmpcopyup), what an image has in a volume. Works on descriptors,
follows no links."""

from __future__ import annotations

import errno
import os
import stat

from oci import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_CHUNK: Final = 1 << 20
_DEEPEST: Final = 250  # two descriptors a level


def copy_tree(source: int, target: int, depth: int = 0) -> None:
    """Copy the content of one directory into another, with owners, modes and times."""
    if depth > _DEEPEST:
        raise OSError(errno.ENAMETOOLONG, "directories are nested too deeply to be copied")
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=target)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            below = os.open(name, flags, dir_fd=source)
            with sc.closing(below):
                copy = os.open(name, flags, dir_fd=target)
                with sc.closing(copy):
                    copy_tree(below, copy, depth + 1)
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
    with sc.closing(reader):
        writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=target)
        with sc.closing(writer):
            while data := os.read(reader, _CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(writer, view) :]
