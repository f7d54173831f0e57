"""A tree as EROFS metadata (fs/erofs/erofs_fs.h) whose file contents lie elsewhere in the same file. Pure.

The image is [4 KiB header | the tar verbatim | metadata], in blocks of 512 bytes, the tar's own: every regular file is
a FLAT_PLAIN inode whose first block is where the tar has its content. No feature beyond the format's first version is
used, so any kernel that mounts 512-byte blocks (Linux >= 6.4) reads it. The kernel only ever parses metadata written
here, never an image's own.

    metadata   inodes, 64 bytes each and aligned to 32 (their number, the nid, is the offset / 32), each followed by its
               extended attributes and, where it fits into the block, a symlink's target
               blocks of directory entries, sorted by name over the whole directory; targets that did not fit
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from typing import Final

from imagesvc.layer.errors import CorruptLayer
from imagesvc.layer.tree import Node

HEADER: Final = 4096
BLOCK: Final = 512
_BLOCK_BITS: Final = 9
_SUPERBLOCK_AT: Final = 1024
_MAGIC: Final = 0xE0F5E1E2
_FEATURE_MTIME: Final = 0x2
_MOST_BLOCKS: Final = 1 << 32

_PLAIN: Final = 1  # extended inode, FLAT_PLAIN
_INLINE: Final = 1 | 2 << 1  # extended inode, FLAT_INLINE
_INODE: Final = struct.Struct("<HHHHQIIIIqII16x")
_SUPERBLOCK: Final = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQ24x")
_DIRENT: Final = struct.Struct("<QHBx")
_XATTR_HEADER: Final = 12
_XATTR_ENTRY: Final = struct.Struct("<BBH")
_FILE_TYPES: Final = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFLNK: 7,
}
# Whole names first: they are stored with an empty rest.
_XATTR_PREFIXES: Final = (
    (b"system.posix_acl_access", 2, True),
    (b"system.posix_acl_default", 3, True),
    (b"user.", 1, False),
    (b"trusted.", 4, False),
    (b"security.", 6, False),
)
_OPAQUE: Final = (b"trusted.overlay.opaque", b"y")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`superblock` belongs at its offset in the header, `metadata` at `metadata_at`; the file has `size` bytes."""

    superblock: bytes
    superblock_at: int
    metadata: bytes
    metadata_at: int
    size: int
    inodes: int


@dataclass(slots=True, kw_only=True)
class _Placed:
    node: Node
    parent: Node
    at: int = 0
    xattrs: bytes = b""
    inline: bytes = b""


def build(root: Node, *, content_end: int, uuid: bytes) -> Image:
    """`content_end` is the length of header and tar. Raises CorruptLayer where the format has no room."""
    placed = _in_order(root)
    metadata_at = -(-content_end // BLOCK) * BLOCK
    inodes_size = _lay_out(placed)
    blocks = _Blocks(metadata_at + -(-inodes_size // BLOCK) * BLOCK)
    inodes = bytearray(blocks.start - metadata_at)
    for item in placed:
        _write_inode(inodes, item, blocks)
    size = -(-blocks.end // HEADER) * HEADER
    if size >> _BLOCK_BITS >= _MOST_BLOCKS:
        raise CorruptLayer(f"the layer has {size} bytes, more than an EROFS file can hold")
    metadata = b"".join((inodes, *blocks.parts))
    superblock = _SUPERBLOCK.pack(
        *(_MAGIC, 0, _FEATURE_MTIME, _BLOCK_BITS, 0, root.nid, len(placed), 0, 0),
        *(size >> _BLOCK_BITS, metadata_at >> _BLOCK_BITS, 0, uuid[:16], b"", 0, 0, 0, 0, 0, 0, 0, 0),
    )
    return Image(
        superblock=superblock,
        superblock_at=_SUPERBLOCK_AT,
        metadata=metadata,
        metadata_at=metadata_at,
        size=size,
        inodes=len(placed),
    )


class _Blocks:
    """The area behind the inodes: whole blocks, in the order they are asked for."""

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.parts: list[bytes] = []

    def add(self, content: bytes) -> int:
        """Returns the number of the first block."""
        first = self.end >> _BLOCK_BITS
        padding = -len(content) % BLOCK
        self.parts.append(content + bytes(padding))
        self.end += len(content) + padding
        return first


def _in_order(root: Node) -> list[_Placed]:
    """Every inode once, the root first (its number has 16 bits), each directory's files together; counts links."""
    placed: list[_Placed] = []
    seen: set[int] = set()
    pending = [(root, root)]
    while pending:
        node, parent = pending.pop()
        placed.append(_Placed(node=node, parent=parent))
        children = node.children or {}
        node.nlink = 2
        for child in children.values():
            if child.children is not None:
                node.nlink += 1
                pending.append((child, node))
            elif id(child) in seen:
                child.nlink += 1
            else:
                seen.add(id(child))
                child.nlink = 1
                placed.append(_Placed(node=child, parent=node))
    return placed


def _lay_out(placed: list[_Placed]) -> int:
    """Gives each inode its place; returns the area's length."""
    offset = 64  # nid 0 is not used
    for item in placed:
        node = item.node
        if node.xattrs or node.opaque:
            item.xattrs = _xattrs(node)
        length = 64 + len(item.xattrs)
        if node.target and length + len(node.target) <= BLOCK:
            # An inline tail must lie in one block with the end of its inode.
            item.inline = node.target
            start = (offset + length) % BLOCK
            if start == 0 or start + len(node.target) > BLOCK or (offset % BLOCK) + length > BLOCK:
                offset = -(-offset // BLOCK) * BLOCK
            length += len(node.target)
        item.at = offset
        node.nid = offset >> 5
        offset = -(-(offset + length) // 32) * 32
    return offset


def _write_inode(inodes: bytearray, item: _Placed, blocks: _Blocks) -> None:
    node, at = item.node, item.at
    layout, size, block = _PLAIN, node.size, 0
    kind = stat.S_IFMT(node.mode)
    if node.children is not None:
        content = _directory(node, item.parent)
        size, block = len(content), blocks.add(content)
    elif item.inline:
        layout = _INLINE
    elif node.target:
        block = blocks.add(node.target)
    elif kind == stat.S_IFREG:
        block = (HEADER + node.offset) >> _BLOCK_BITS if size else 0
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        major, minor = node.device
        block = (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12
    attributes = item.xattrs
    count = (len(attributes) - _XATTR_HEADER) // 4 + 1 if attributes else 0
    _INODE.pack_into(
        inodes,
        at,
        *(layout, count, node.mode, 0, size, block & 0xFFFF_FFFF, node.nid & 0xFFFF_FFFF),
        *(node.uid, node.gid, node.mtime, node.mtime_ns, node.nlink),
    )
    tail = attributes + item.inline
    if tail:
        inodes[at + 64 : at + 64 + len(tail)] = tail


def _directory(node: Node, parent: Node) -> bytes:
    """Entries in byte order over all blocks; each block holds its entries first, then their names."""
    assert node.children is not None
    entries = [(name, child.nid, _FILE_TYPES[stat.S_IFMT(child.mode)]) for name, child in node.children.items()]
    entries.append((b".", node.nid, 2))
    entries.append((b"..", parent.nid, 2))
    entries.sort()
    blocks: list[bytes] = []
    block: list[tuple[bytes, int, int]] = []
    used = 0
    for entry in entries:
        length = _DIRENT.size + len(entry[0])
        if used + length > BLOCK:
            blocks.append(_directory_block(block).ljust(BLOCK, b"\0"))
            block, used = [], 0
        block.append(entry)
        used += length
    blocks.append(_directory_block(block))
    return b"".join(blocks)


def _directory_block(entries: list[tuple[bytes, int, int]]) -> bytes:
    heads = []
    position = len(entries) * _DIRENT.size
    for name, nid, kind in entries:
        heads.append(_DIRENT.pack(nid, position, kind))
        position += len(name)
    return b"".join(heads) + b"".join([name for name, _, _ in entries])


def _xattrs(node: Node) -> bytes:
    """Inline attributes with their 12-byte header; names outside the format's prefixes are left out, as ENOTSUP is."""
    parts = [bytes(_XATTR_HEADER)]
    for name, value in (*node.xattrs, _OPAQUE) if node.opaque else node.xattrs:
        for prefix, index, whole in _XATTR_PREFIXES:
            if name == prefix if whole else name.startswith(prefix):
                rest = name[len(prefix) :]
                entry = _XATTR_ENTRY.pack(len(rest), index, len(value)) + rest + value
                parts.append(entry + bytes(-len(entry) % 4))
                break
    if len(parts) == 1:
        return b""
    attributes = b"".join(parts)
    if len(attributes) > 4 * 0xFFFF:
        raise CorruptLayer(f"an entry has {len(attributes)} bytes of extended attributes")
    return attributes
