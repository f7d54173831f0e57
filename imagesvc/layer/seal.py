"""What shows later that a layer is still what was written: its seal, taken when it is finished, compared when asked.

    EROFS       The file is the tar behind a header, and metadata behind the tar. The tar's digest is the layer's id, so
                the seal is only of the rest: it costs a pull next to nothing, and a check reads every byte.
    directory   One digest over the tree: names, kinds, modes, owners, times, links, attributes, contents.

A seal finds damage: a failing disk, a write that a power cut lost, a hand that edited. It is no defence against root.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagesvc.digest import Digest, Hash, matches, new_hash
from imagesvc.layer import erofs
from imagesvc.layer.writer import LayerForm, Seal

_CHUNK: Final = 1 << 20
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Link:
    """A file with several names is hashed once; the others refer to it by its first name."""

    inode: tuple[int, int]


def seal_file(fd: int, content_end: int) -> Seal:
    """Of a finished EROFS file whose tar ends at `content_end`. Raises OSError."""
    digest = hashlib.sha256()
    _feed(digest, fd, 0, erofs.HEADER)
    _feed(digest, fd, content_end, os.fstat(fd).st_size)
    return Seal(content_end=content_end, digest=digest.hexdigest())


def seal_directory(fd: int) -> Seal:
    """Of a finished tree. Raises OSError."""
    digest = hashlib.sha256()
    seen: dict[_Link, bytes] = {}
    for part in _tree(fd, b"", seen):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return Seal(content_end=0, digest=digest.hexdigest())


def problem(path: Path, layer: str, form: LayerForm, seal: Seal) -> str:
    """What is wrong with the layer at `path`, "" for nothing. Reads all of it, from the disk. Raises OSError."""
    try:
        if form is LayerForm.DIRECTORY:
            return _directory_problem(path, seal)
        return _file_problem(path, layer, seal)
    except FileNotFoundError as error:
        return f"{error.filename or path} is gone"


def _directory_problem(path: Path, seal: Seal) -> str:
    fd = os.open(path, _DIRECTORY)
    try:
        return "" if seal_directory(fd) == seal else "its files are not those that were written"
    finally:
        os.close(fd)


def _file_problem(path: Path, layer: str, seal: Seal) -> str:
    fd = os.open(path, _FILE)
    try:
        if os.fstat(fd).st_size < seal.content_end:
            return f"it has {os.fstat(fd).st_size} bytes, fewer than the {seal.content_end} of its tar"
        # Pages that are in memory may be right where the disk is not.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if seal_file(fd, seal.content_end) != seal:
            return "its file system metadata is not what was written"
        if seal.content_end > erofs.HEADER:
            tar = new_hash(Digest(layer))
            _feed(tar, fd, erofs.HEADER, seal.content_end)
            if not matches(Digest(layer), tar):
                return f"its content has digest {tar.hexdigest()}"
        return ""
    finally:
        os.close(fd)


def _feed(digest: Hash, fd: int, start: int, end: int) -> None:
    while start < end:
        data = os.pread(fd, min(_CHUNK, end - start), start)
        if not data:
            return  # it ended early: the digest says so
        digest.update(data)
        start += len(data)


def _tree(directory: int, prefix: bytes, seen: dict[_Link, bytes]) -> Iterator[bytes]:
    yield _attributes(directory, b".", os.fstat(directory))
    for name in sorted(os.fsencode(entry) for entry in os.listdir(directory)):
        path = prefix + b"/" + name
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        yield path
        if stat.S_ISDIR(status.st_mode):
            below = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                yield from _tree(below, path, seen)
            finally:
                os.close(below)
            continue
        first = seen.setdefault(_Link((status.st_dev, status.st_ino)), path)
        yield first
        if first == path:
            yield _attributes(directory, name, status)
            yield from _contents(directory, name, status)


def _attributes(directory: int, name: bytes, status: os.stat_result) -> bytes:
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    facts = (status.st_mode, status.st_uid, status.st_gid, size, status.st_rdev, status.st_mtime_ns)
    path = f"/proc/self/fd/{directory}/{os.fsdecode(name)}"
    xattrs = [
        (attribute, os.getxattr(path, attribute, follow_symlinks=False))
        for attribute in sorted(os.listxattr(path, follow_symlinks=False))
        if attribute != "security.selinux"  # the host's to change
    ]
    return repr((facts, xattrs)).encode()


def _contents(directory: int, name: bytes, status: os.stat_result) -> Iterator[bytes]:
    if stat.S_ISLNK(status.st_mode):
        yield os.readlink(name, dir_fd=directory)
    elif stat.S_ISREG(status.st_mode):
        fd = os.open(name, _FILE, dir_fd=directory)
        try:
            digest = hashlib.sha256()
            _feed(digest, fd, 0, status.st_size)
            yield digest.digest()
        finally:
            os.close(fd)
