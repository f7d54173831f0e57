"""What a container has changed in its root filesystem: out of the upper layer of one overlay, into that of another.

Both sides are full of what somebody else wrote. Reading goes by descriptor and follows no links; writing resolves every
path below the new root, whose image may have links where the archive has directories.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tarfile
from pathlib import Path
from typing import IO, Any, Final

from cri.errors import InvalidArgument
from oci import syscalls
from oci.init import paths

DIFF: Final = "rootfs-diff.tar"
DELETED: Final = "deleted.files"
_XATTR: Final = "SCHILY.xattr."
_OPAQUE: Final = "trusted.overlay.opaque"
_ATTRIBUTES: Final = ("user.", "security.capability")


def write(upper: Path, directory: Path) -> None:
    """The two files, into `directory`. An opaque directory counts as removed and made again."""
    deleted: list[str] = []
    links: dict[tuple[int, int], str] = {}
    with tarfile.open(directory / DIFF, "w", format=tarfile.PAX_FORMAT) as tar:
        for root, directories, files, fd in os.fwalk(upper, follow_symlinks=False):
            above = os.path.relpath(root, upper)
            for name in sorted(directories) + sorted(files):
                path = name if above == "." else f"{above}/{name}"
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                    deleted.append(f"/{path}")
                elif not stat.S_ISSOCK(status.st_mode):
                    attributes = _attributes(name, fd, status.st_mode)
                    if attributes.pop(_XATTR + _OPAQUE, "") == "y":
                        deleted.append(f"/{path}")
                    _add(tar, path, name, fd, status, attributes, links)
    (directory / DELETED).write_text(json.dumps(deleted))


def _attributes(name: str, directory: int, mode: int) -> dict[str, str]:
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return {}
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    with syscalls.closing(fd):
        wanted = [key for key in os.listxattr(fd) if key.startswith(_ATTRIBUTES) or key == _OPAQUE]
        return {_XATTR + key: os.getxattr(fd, key).decode("utf-8", "surrogateescape") for key in wanted}


def _add(
    tar: tarfile.TarFile,
    path: str,
    name: str,
    directory: int,
    status: os.stat_result,
    attributes: dict[str, str],
    links: dict[tuple[int, int], str],
) -> None:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.uid, entry.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    entry.mtime = status.st_mtime  # PAX has fractions
    entry.pax_headers = attributes
    kind = stat.S_IFMT(status.st_mode)
    entry.type = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFIFO: tarfile.FIFOTYPE}.get(
        kind, {stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE}.get(kind, tarfile.REGTYPE)
    )
    if kind == stat.S_IFLNK:
        entry.linkname = os.readlink(name, dir_fd=directory)
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    elif kind == stat.S_IFREG:
        first = links.setdefault((status.st_dev, status.st_ino), path)
        if first != path:
            entry.type, entry.linkname = tarfile.LNKTYPE, first
        else:
            entry.size = status.st_size
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
            with os.fdopen(fd, "rb") as file:
                tar.addfile(entry, file)
            return
    tar.addfile(entry)


def apply(root: int, directory: Path) -> None:
    """What `write` wrote, or another runtime did, into the root filesystem at the descriptor. Missing files: nothing
    was changed. Raises InvalidArgument when they make no sense."""
    if (directory / DELETED).exists():
        for path in _deleted((directory / DELETED).read_bytes()):
            _remove(root, path)
    if not (directory / DIFF).exists():
        return
    try:
        with tarfile.open(directory / DIFF, "r:") as tar:
            for entry in tar:
                _extract(root, entry, tar.extractfile(entry) if entry.isreg() else None)
    except tarfile.TarError as error:
        raise InvalidArgument(DIFF, str(error)) from None


def _deleted(content: bytes) -> list[str]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(DELETED, str(error)) from None
    if not isinstance(found, list) or not all(isinstance(path, str) for path in found):
        raise InvalidArgument(DELETED, "is not a list of paths")
    return found


def _remove(root: int, path: str) -> None:
    if not path.strip("/"):
        return
    above, name = paths.split_last(path)
    try:
        parent = paths.open_in_root(root, above, os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    with syscalls.closing(parent):
        _unlink(name, parent)


def _unlink(name: str, parent: int) -> None:
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            # Through a descriptor that can be read; rmtree by name would need one that is not O_PATH.
            shutil.rmtree(f"/proc/self/fd/{parent}/{name}")
        else:
            os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def _extract(root: int, entry: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    if not entry.name.strip("./"):
        return
    above, name = paths.split_last(entry.name)
    parent = paths.make_directories(root, above)
    with syscalls.closing(parent):
        if entry.isdir():
            _make_directory(name, parent)
        else:
            _unlink(name, parent)
            _make(root, entry, name, parent, content)
        if entry.islnk():
            return
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if not entry.issym():
            os.chmod(f"/proc/self/fd/{parent}/{name}", entry.mode & 0o7777)
        os.utime(name, (entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
        if entry.isreg() or entry.isdir():
            _set_attributes(f"/proc/self/fd/{parent}/{name}", entry.pax_headers)


def _make_directory(name: str, parent: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            _unlink(name, parent)
            os.mkdir(name, 0o700, dir_fd=parent)


def _make(root: int, entry: tarfile.TarInfo, name: str, parent: int, content: IO[bytes] | None) -> None:
    if content is not None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
        with os.fdopen(fd, "wb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
    elif entry.issym():
        os.symlink(entry.linkname, name, dir_fd=parent)
    elif entry.islnk():
        above, other = paths.split_last(entry.linkname)
        source = paths.open_in_root(root, above, os.O_PATH | os.O_DIRECTORY)
        with syscalls.closing(source):
            os.link(other, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    elif entry.isfifo():
        os.mkfifo(name, 0o600, dir_fd=parent)
    elif entry.ischr() or entry.isblk():
        kind = stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
        os.mknod(name, kind | 0o600, os.makedev(entry.devmajor, entry.devminor), dir_fd=parent)
    else:
        raise InvalidArgument(DIFF, f"{entry.name} is of an unknown kind")


def _set_attributes(path: str, headers: Any) -> None:
    """`path` ends below a descriptor in something that was made a moment ago; nobody else is here yet."""
    for key, value in headers.items():
        name = key.removeprefix(_XATTR)
        if key.startswith(_XATTR) and name.startswith(_ATTRIBUTES):
            os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
