"""The tree that a layer's entries describe, in memory, with every name resolved inside its root. Pure.

Shared by both forms of a layer, so that they cannot differ in what a name means:

- Names are taken apart lexically. `/a` is `a`; `..` may not climb above the root (CorruptEntry). Parents that are
  symlinks of the same layer are followed inside the root, as other runtimes do when they unpack.
- A missing parent is made, marked `implied`: its attributes are the base's, not this layer's (see `cover`).
- The last entry of a name wins; a directory over a directory only replaces attributes.
- A whiteout hides what lower layers have, never a sibling in this layer: with a directory of that name it makes it
  opaque. In the tree it is overlayfs's form, a character device 0:0, and opaque directories carry a flag.
"""

from __future__ import annotations

import stat
from typing import Final

from imagesvc.layer.errors import CorruptEntry
from imagesvc.layer.tar import LONGEST_NAME, Entry, Kind

WHITEOUT: Final = b".wh."
_WHITEOUT_META: Final = b".wh..wh."  # aufs's own files; the only one with a meaning in images is the opaque mark
_OPAQUE: Final = b".wh..wh..opq"
_MOST_SYMLINKS: Final = 40

_TYPES: Final = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}


class Node:
    """An inode. A directory has `children` (not None) and knows its parent and name; others may have several names."""

    __slots__ = (
        "children",
        "device",
        "gid",
        "implied",
        "mode",
        "mtime",
        "mtime_ns",
        "name",
        "nid",
        "nlink",
        "offset",
        "opaque",
        "parent",
        "size",
        "target",
        "uid",
        "xattrs",
    )

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.uid = self.gid = self.mtime = self.mtime_ns = self.size = self.offset = self.nid = 0
        self.nlink = 1
        self.device = (0, 0)
        self.target = b""
        self.xattrs: tuple[tuple[bytes, bytes], ...] = ()
        self.children: dict[bytes, Node] | None = None
        self.parent: Node | None = None
        self.name = b""
        self.implied = False
        self.opaque = False

    @property
    def is_whiteout(self) -> bool:
        return self.mode == stat.S_IFCHR and self.device == (0, 0)

    def replaces_all(self) -> None:
        """A directory made where a whiteout took what was there: it has nothing of it, not even attributes."""
        self.opaque, self.implied = True, False

    def path(self) -> bytes:
        """Of a directory: names from the root, "" for the root itself."""
        names = []
        node = self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return b"/".join(reversed(names))


def new_directory(parent: Node | None, name: bytes) -> Node:
    node = Node(stat.S_IFDIR | 0o755)
    node.children = {}
    node.parent, node.name, node.implied = parent, name, True
    return node


class LayerTree:
    def __init__(self) -> None:
        self.root = new_directory(None, b"")
        self.entries = 0
        self._known: dict[bytes, Node] = {b"": self.root}

    def add(self, entry: Entry) -> tuple[Node, bytes] | None:
        """Place the entry; returns the directory and the name it now has there, None where it has none.

        Raises CorruptEntry.
        """
        self.entries += 1
        parts = split(entry.name, entry.name)
        if not parts:
            if entry.kind is not Kind.DIRECTORY:
                raise CorruptEntry(entry.name, f"the root cannot be a {entry.kind.value}")
            _set_attributes(self.root, entry)
            return None
        if any(part.startswith(_WHITEOUT_META) and part != _OPAQUE for part in parts):
            return None
        parent = self._parent(parts, entry)
        name = parts[-1]
        if name.startswith(WHITEOUT):
            return self._whiteout(parent, name, entry)
        if entry.kind is Kind.DIRECTORY:
            self._directory(parent, name, entry)
        elif entry.kind is Kind.HARDLINK:
            if not self._hardlink(parent, name, entry):
                return None
        else:
            self._place(parent, name, _leaf(entry))
        return parent, name

    def locate(self, link: Entry) -> tuple[Node, bytes]:
        """The directory and the name where the target of a hard link, placed before, is."""
        parts = split(link.link, link.name)
        parent = self._walk(parts[:-1], link, make=False)
        assert parent is not None
        return parent, parts[-1]

    # --- one method a kind of entry --------------------------------------------------------------------------------

    def _directory(self, parent: Node, name: bytes, entry: Entry) -> None:
        children = _children(parent)
        node = children.get(name)
        if node is None or node.children is None:
            made = new_directory(parent, name)
            made.opaque = node is not None
            node = made
            self._place(parent, name, node)
        _set_attributes(node, entry)

    def _hardlink(self, parent: Node, name: bytes, entry: Entry) -> bool:
        """False where the name is a link to that file already."""
        parts = split(entry.link, entry.name)
        target = self._find(parts, entry) if parts else self.root
        shown = entry.link.decode(errors="backslashreplace")
        if target is None or target.is_whiteout:
            raise CorruptEntry(entry.name, f"the hard link's target {shown!r} is not in this layer")
        if target.children is not None:
            raise CorruptEntry(entry.name, f"the hard link's target {shown!r} is a directory")
        if _children(parent).get(name) is target:
            return False
        self._place(parent, name, target)
        return True

    def _whiteout(self, parent: Node, name: bytes, entry: Entry) -> tuple[Node, bytes] | None:
        if name == _OPAQUE:
            parent.opaque = True
            return None
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise CorruptEntry(entry.name, "a whiteout of no name")
        present = _children(parent).get(hidden)
        if present is None:
            self._place(parent, hidden, Node(stat.S_IFCHR))
            return parent, hidden
        if present.children is not None:
            present.replaces_all()
        return None

    def _place(self, parent: Node, name: bytes, node: Node) -> None:
        children = _children(parent)
        replaced = children.get(name)
        if replaced is not None and (replaced.children is not None or stat.S_ISLNK(replaced.mode)):
            self._known = {b"": self.root}  # paths that led through it mean something else now
        children[name] = node

    # --- names -----------------------------------------------------------------------------------------------------

    def _parent(self, parts: list[bytes], entry: Entry) -> Node:
        if len(parts) == 1:
            return self.root
        key = b"/".join(parts[:-1])
        node = self._known.get(key)
        if node is None:
            found = self._walk(parts[:-1], entry, make=True)
            if found is None or found.children is None:
                raise CorruptEntry(entry.name, "it lies below something that is not a directory")
            node = self._known[key] = found
        return node

    def _find(self, parts: list[bytes], entry: Entry) -> Node | None:
        parent = self._known.get(b"/".join(parts[:-1])) or self._walk(parts[:-1], entry, make=False)
        return parent.children.get(parts[-1]) if parent is not None and parent.children is not None else None

    def _walk(self, parts: list[bytes], entry: Entry, *, make: bool) -> Node | None:
        """From the root down; symlinks are followed within the tree, missing directories made where asked."""
        node = self.root
        pending = list(reversed(parts))
        followed = 0
        while pending:
            name = pending.pop()
            if name == b"..":
                node = node.parent or self.root
                continue
            children = node.children
            if children is None:
                return None
            child = children.get(name)
            if child is None or child.is_whiteout:
                if not make:
                    return None
                made = new_directory(node, name)
                if child is not None:
                    made.replaces_all()
                children[name] = child = made
            elif child.children is None and stat.S_ISLNK(child.mode):
                followed += 1
                if followed > _MOST_SYMLINKS:
                    raise CorruptEntry(entry.name, "its path leads through too many symlinks")
                if child.target.startswith(b"/"):
                    node = self.root
                pending.extend(part for part in reversed(child.target.split(b"/")) if part not in (b"", b"."))
                continue
            node = child
        return node


def split(path: bytes, entry: bytes) -> list[bytes]:
    """The names of a path; raises CorruptEntry where it climbs out of the root."""
    parts = path.split(b"/")
    if b"" in parts or b"." in parts or b".." in parts:
        clean: list[bytes] = []
        for part in parts:
            if part == b"..":
                if not clean:
                    raise CorruptEntry(entry, "it climbs out of the layer's root")
                clean.pop()
            elif part not in (b"", b"."):
                clean.append(part)
        parts = clean
    for part in parts:
        if len(part) > LONGEST_NAME:
            raise CorruptEntry(entry, f"a name in it has more than {LONGEST_NAME} bytes")
    return parts


def _children(node: Node) -> dict[bytes, Node]:
    assert node.children is not None
    return node.children


def _leaf(entry: Entry) -> Node:
    node = Node(_TYPES[entry.kind] | (0o777 if entry.kind is Kind.SYMLINK else entry.mode))
    node.uid, node.gid, node.mtime, node.mtime_ns = entry.uid, entry.gid, entry.mtime, entry.mtime_ns
    node.xattrs = kept_xattrs(entry.xattrs) if entry.xattrs else ()
    node.device = entry.device
    node.offset = entry.offset
    node.size = entry.size
    if entry.kind is Kind.SYMLINK:
        if not entry.link:
            raise CorruptEntry(entry.name, "a symlink to nothing")
        node.target = entry.link
        node.size = len(entry.link)
    return node


def _set_attributes(node: Node, entry: Entry) -> None:
    node.mode = stat.S_IFDIR | entry.mode
    node.uid, node.gid, node.mtime, node.mtime_ns = entry.uid, entry.gid, entry.mtime, entry.mtime_ns
    node.xattrs = kept_xattrs(entry.xattrs) if entry.xattrs else ()
    node.implied = False


def kept_xattrs(xattrs: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Without overlayfs's own, by which an image could reach into other layers, and labels of the policy of another
    host, which ours may not know."""
    return tuple(
        item for item in xattrs if not item[0].startswith(b"trusted.overlay.") and item[0] != b"security.selinux"
    )
