"""One EROFS file, written while its tar arrives: the tar as it is, then the metadata, then the header."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from imagesvc.layer import erofs
from imagesvc.layer.seal import seal_file
from imagesvc.layer.tar import Entry, TarParser
from imagesvc.layer.tree import LayerTree, Node
from imagesvc.layer.writer import LayerFacts, facts
from oci import syscalls

_WRITE_BACK: Final = 8 << 20


class ErofsFile:
    """A LayerWriter. Until `finish` has written the superblock, the file is no file system."""

    def __init__(self, path: Path, *, uuid: bytes) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.lseek(self._fd, erofs.HEADER, os.SEEK_SET)
        self._uuid = uuid
        self._parser = TarParser(contents=False)
        self._tree = LayerTree()
        self._end = erofs.HEADER
        self._begun = 0  # where writing back has not begun yet

    def feed(self, data: bytes) -> None:
        _write(self._fd, data)
        self._end += len(data)
        if self._end - self._begun >= _WRITE_BACK:
            # The disk works while the rest arrives; otherwise all of it would wait for the end.
            syscalls.sync_file_range(self._fd, self._begun, self._end - self._begun)
            self._begun = self._end
        add = self._tree.add
        for event in self._parser.feed(data):
            if isinstance(event, Entry):
                add(event)

    def add(self, entry: Entry) -> None:
        self._tree.add(entry)

    def finish(self) -> LayerFacts:
        self._parser.close()
        image = _complete(self._fd, self._tree.root, self._end, self._uuid)
        return facts(self._tree, size=image.size, inodes=1, seal=seal_file(self._fd, self._end))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _complete(fd: int, root: Node, end: int, uuid: bytes) -> erofs.Image:
    image = erofs.build(root, content_end=end, uuid=uuid)
    os.lseek(fd, image.metadata_at, os.SEEK_SET)
    _write(fd, image.metadata)
    os.ftruncate(fd, image.size)
    os.pwrite(fd, image.superblock, image.superblock_at)
    os.fdatasync(fd)
    return image


def _write(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])
