"""A layer as files in a directory, for kernels that cannot mount EROFS files and for file systems they cannot lie on.

Names are resolved by the same tree as for EROFS, so no path that is opened here has a symlink in it; every step goes
by descriptor and refuses symlinks all the same. Order of the metadata calls: owner, extended attributes, mode (a change
of owner clears setuid and file capabilities), times; directories at the end, deepest first.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Final

from imagesvc.layer.errors import CorruptLayer
from imagesvc.layer.seal import seal_directory
from imagesvc.layer.tar import Entry, Kind, TarParser
from imagesvc.layer.tree import LayerTree, Node
from imagesvc.layer.writer import LayerFacts, facts
from oci import syscalls

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN: Final = 64
_OPAQUE: Final = "trusted.overlay.opaque"


class DirectoryLayer:
    """A LayerWriter."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o755)
        self._root_fd = os.open(path, _DIRECTORY)
        self._parser = TarParser(contents=True)
        self._tree = LayerTree()
        self._open: OrderedDict[Node, int] = OrderedDict()  # latest used last
        self._file = -1
        self._file_node: Node | None = None
        self._left = 0
        self._size = 0
        self._inodes = 1
        self._made: set[Node] = {self._tree.root}

    def feed(self, data: bytes) -> None:
        for event in self._parser.feed(data):
            if isinstance(event, bytes):
                self._content(event)
            else:
                self.add(event)

    def finish(self) -> LayerFacts:
        self._parser.close()
        self._finish_directories()
        syscalls.syncfs(self._root_fd)
        return facts(self._tree, size=self._size, inodes=self._inodes, seal=seal_directory(self._root_fd))

    def close(self) -> None:
        self._close_file()
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    # --- entries ---------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        placed = self._tree.add(entry)
        if placed is None:
            if entry.kind is Kind.FILE and entry.size:
                self._left, self._file_node = entry.size, None
            return
        parent, name = placed
        node = (parent.children or {})[name]
        directory = self._directory(parent)
        if node.children is not None:
            self._make_directory(node, directory, name)
            return
        self._remove(directory, name)
        if entry.kind is Kind.HARDLINK and not node.is_whiteout:
            self._link(entry, node, directory, name)
            return
        self._inodes += 1
        if stat.S_ISREG(node.mode):
            self._begin_file(node, directory, name)
        else:
            self._make_other(node, directory, name)
            # A whiteout may be written as a file with content: that content is nobody's.
            self._left, self._file_node = (entry.size if entry.kind is Kind.FILE else 0), None

    def _begin_file(self, node: Node, directory: int, name: bytes) -> None:
        self._file = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
        self._left, self._file_node = node.size, node
        self._size += node.size
        if not node.size:
            self._end_file()

    def _content(self, data: bytes) -> None:
        self._left -= len(data)
        if self._file_node is not None:
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, memoryview(data)[written:])
            if not self._left:
                self._end_file()

    def _end_file(self) -> None:
        assert self._file_node is not None
        node, fd = self._file_node, self._file
        os.fchown(fd, node.uid, node.gid)
        _set_xattrs(fd, node)
        os.fchmod(fd, stat.S_IMODE(node.mode))
        os.utime(fd, ns=_times(node))
        self._close_file()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._file_node = -1, None

    def _link(self, entry: Entry, node: Node, directory: int, name: bytes) -> None:
        target = self._tree.locate(entry)
        os.link(target[1], name, src_dir_fd=self._directory(target[0]), dst_dir_fd=directory, follow_symlinks=False)

    def _make_other(self, node: Node, directory: int, name: bytes) -> None:
        if stat.S_ISLNK(node.mode):
            os.symlink(node.target, name, dir_fd=directory)
        else:
            major, minor = node.device
            os.mknod(name, stat.S_IFMT(node.mode), os.makedev(major, minor), dir_fd=directory)
        os.chown(name, node.uid, node.gid, dir_fd=directory, follow_symlinks=False)
        if node.xattrs:
            _set_xattrs(f"/proc/self/fd/{directory}/{os.fsdecode(name)}", node)
        if not stat.S_ISLNK(node.mode):
            os.chmod(name, stat.S_IMODE(node.mode), dir_fd=directory)
        os.utime(name, ns=_times(node), dir_fd=directory, follow_symlinks=False)

    def _make_directory(self, node: Node, parent: int, name: bytes) -> None:
        if node in self._made:
            return
        self._remove(parent, name)
        os.mkdir(name, 0o700, dir_fd=parent)
        self._made.add(node)
        self._inodes += 1
        self._size += 4096

    def _remove(self, directory: int, name: bytes) -> None:
        """What an earlier entry of the same name left."""
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            self._forget_descriptors(but=directory)
            shutil.rmtree(os.fsdecode(name), dir_fd=directory)

    # --- descriptors -----------------------------------------------------------------------------------------------

    def _directory(self, node: Node) -> int:
        """Of a directory of the tree, made where it is only implied so far."""
        if node.parent is None:
            return self._root_fd
        fd = self._open.get(node)
        if fd is not None:
            self._open.move_to_end(node)
            return fd
        chain = []
        while node.parent is not None and node not in self._open:
            chain.append(node)
            node = node.parent
        fd = self._root_fd if node.parent is None else self._open[node]
        for step in reversed(chain):
            self._make_directory(step, fd, step.name)
            fd = os.open(step.name, _DIRECTORY, dir_fd=fd)
            self._open[step] = fd
        while len(self._open) > max(_MOST_OPEN, len(chain)):
            os.close(self._open.popitem(last=False)[1])
        return fd

    def _forget_descriptors(self, but: int = -1) -> None:
        for node, fd in list(self._open.items()):
            if fd != but:
                del self._open[node]
                os.close(fd)

    def _finish_directories(self) -> None:
        """Attributes of all directories, children before parents, since every change below moves a parent's time."""
        self._forget_descriptors()
        pending: list[tuple[Node, bool]] = [(self._tree.root, False)]
        while pending:
            node, children_done = pending.pop()
            if not children_done:
                pending.append((node, True))
                pending.extend((child, False) for child in (node.children or {}).values() if child.children is not None)
                continue
            fd = self._directory(node)
            os.fchown(fd, node.uid, node.gid)
            _set_xattrs(fd, node)
            if node.opaque:
                os.setxattr(fd, _OPAQUE, b"y")
            os.fchmod(fd, stat.S_IMODE(node.mode))
            os.utime(fd, ns=_times(node))


def _set_xattrs(target: int | str, node: Node) -> None:
    for name, value in node.xattrs:
        try:
            os.setxattr(target, name, value, follow_symlinks=isinstance(target, int))
        except OSError as error:
            # What this file system cannot keep is left out, as it is in the EROFS form.
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise CorruptLayer(f"extended attribute {name!r}: {error.strerror}") from None


def _times(node: Node) -> tuple[int, int]:
    nanoseconds = node.mtime * 1_000_000_000 + node.mtime_ns
    return nanoseconds, nanoseconds
