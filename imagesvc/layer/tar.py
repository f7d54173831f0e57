"""A tar stream as a machine: bytes in, entries out. Pure; does not hold what it has passed.

Reads ustar, pax (path, linkpath, size, uid, gid, mtime, SCHILY.xattr.*), GNU long names and base-256 numbers, star's
prefix, and the old form without a magic. Checksums are verified. Sparse members are refused: image-spec advises against
them and no image builder writes them. Global pax headers are skipped, as other runtimes do.

`feed` returns events in stream order: an `Entry`, and (only with `contents=True`) the pieces of a file's content that
follow it. The entry's `offset` is where its content begins in the tar, which is all that an EROFS layer needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from imagesvc.layer import pax
from imagesvc.layer.errors import CorruptEntry, CorruptLayer

BLOCK: Final = 512
LONGEST_PATH: Final = 4095
LONGEST_NAME: Final = 255
_LARGEST_EXTENSION: Final = 1 << 20
_LARGEST_SIZE: Final = 1 << 62
_LARGEST_ID: Final = (1 << 32) - 2
_XATTR: Final = b"SCHILY.xattr."
_SPARSE: Final = b"GNU.sparse."
_MOST_XATTR_BYTES: Final = 1 << 16


class Kind(Enum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hard link"
    CHARACTER = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"


_KINDS: Final = {
    0x00: Kind.FILE,
    0x30: Kind.FILE,
    0x37: Kind.FILE,  # "contiguous file"
    0x31: Kind.HARDLINK,
    0x32: Kind.SYMLINK,
    0x33: Kind.CHARACTER,
    0x34: Kind.BLOCK_DEVICE,
    0x35: Kind.DIRECTORY,
    0x36: Kind.FIFO,
}
_EXTENSIONS: Final = frozenset(b"xgLK")


@dataclass(slots=True, kw_only=True)
class Entry:
    """`name` and `link` are as written. Not frozen: 20,000 of them are made in a layer, and the check costs."""

    kind: Kind
    name: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    mtime_ns: int
    size: int
    offset: int
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]


Event = Entry | bytes


class _State(Enum):
    HEADER = "header"
    EXTENSION = "extension"
    CONTENT = "content"
    PADDING = "padding"
    END = "end"


class TarParser:
    def __init__(self, *, contents: bool) -> None:
        self._contents = contents
        self._state = _State.HEADER
        self._buffer = b""
        self._consumed = 0  # tar offset of the buffer's first byte
        self._need = BLOCK  # bytes that the state waits for, or that CONTENT and PADDING still pass
        self._padding = 0
        self._extension = 0
        self._extended: dict[bytes, bytes] = {}

    def feed(self, data: bytes) -> list[Event]:
        """Raises CorruptLayer; the parser is then of no further use."""
        events: list[Event] = []
        state = self._state
        if state is _State.END:
            return events
        buffer = self._buffer + data if self._buffer else data
        position, end = 0, len(buffer)
        while position < end and self._state is not _State.END:
            state = self._state
            if state is _State.HEADER or state is _State.EXTENSION:
                if end - position < self._need:
                    break
                block = buffer[position : position + self._need]
                position += self._need
                if state is _State.EXTENSION:
                    self._read_extension(block)
                elif (entry := self._read_header(block, self._consumed + position)) is not None:
                    events.append(entry)
            else:
                taken = min(self._need, end - position)
                if state is _State.CONTENT and self._contents:
                    events.append(buffer[position : position + taken])
                position += taken
                self._need -= taken
                if not self._need:
                    self._after_content()
        self._consumed += position
        self._buffer = buffer[position:]
        return events

    def close(self) -> None:
        """The stream has ended. Raises CorruptLayer where that is too early."""
        if self._state is _State.END or (self._state is _State.HEADER and not self._buffer and not self._extended):
            return
        raise CorruptLayer(f"the tar stream ends early, in a {self._state.value} after {self._consumed} bytes")

    def _after_content(self) -> None:
        if self._state is _State.CONTENT and self._padding:
            self._state, self._need = _State.PADDING, self._padding
        else:
            self._expect_header()

    def _expect_header(self) -> None:
        self._state, self._need = _State.HEADER, BLOCK

    def _read_header(self, block: bytes, offset: int) -> Entry | None:
        if block[0] == 0 and not any(block):
            # One block of zeros ends the archive; what follows (a second one, padding) means nothing.
            self._state = _State.END
            return None
        _verify_checksum(block)
        flag = block[156]
        size = _number(block[124:136], "size")
        if flag in _EXTENSIONS:
            self._expect_extension(flag, size)
            return None
        extended, self._extended = self._extended, {}
        return self._read_entry(block, flag, size, offset, extended)

    def _expect_extension(self, flag: int, size: int) -> None:
        if size > _LARGEST_EXTENSION:
            raise CorruptLayer(f"an extended header has {size} bytes")
        self._extension = flag
        if size:
            self._state, self._need = _State.EXTENSION, -(-size // BLOCK) * BLOCK
            self._padding = self._need - size

    def _read_extension(self, block: bytes) -> None:
        content = block[: len(block) - self._padding]
        if self._extension == 0x78:  # x
            self._extended.update(pax.parse_pax(content))
        elif self._extension == 0x4C:  # L
            self._extended[b"path"] = content.split(b"\0", 1)[0]
        elif self._extension == 0x4B:  # K
            self._extended[b"linkpath"] = content.split(b"\0", 1)[0]
        self._expect_header()

    def _read_entry(self, block: bytes, flag: int, size: int, offset: int, extended: dict[bytes, bytes]) -> Entry:
        name = extended.get(b"path")
        if name is None:
            name = _name(block)
        link = extended.get(b"linkpath")
        if link is None:
            link = block[157:257].split(b"\0", 1)[0]
        kind = _KINDS.get(flag)
        if kind is None:
            problem = "sparse files are not supported" if flag == 0x53 else f"unknown type {chr(flag)!r}"
            raise CorruptEntry(name, problem)
        if flag == 0 and name.endswith(b"/"):
            kind = Kind.DIRECTORY  # so they were before there was a type for them
        try:
            entry = _entry(block, kind, name, link, size, offset, extended)
        except CorruptEntry:
            raise
        except CorruptLayer as error:
            raise CorruptEntry(name, str(error)) from None
        self._expect_content(entry)
        return entry

    def _expect_content(self, entry: Entry) -> None:
        """Only files have content, whatever the header of a link or a directory says for its size."""
        if entry.kind is Kind.FILE and entry.size:
            self._state, self._need = _State.CONTENT, entry.size
            self._padding = -entry.size % BLOCK
        else:
            self._expect_header()


def _entry(
    block: bytes, kind: Kind, name: bytes, link: bytes, size: int, offset: int, extended: dict[bytes, bytes]
) -> Entry:
    mtime, mtime_ns = _number(block[136:148], "mtime", signed=True), 0
    uid, gid = _number(block[108:116], "uid"), _number(block[116:124], "gid")
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    if extended:
        if b"size" in extended:
            size = pax.decimal(extended[b"size"], "size")
        if b"uid" in extended:
            uid = pax.decimal(extended[b"uid"], "uid")
        if b"gid" in extended:
            gid = pax.decimal(extended[b"gid"], "gid")
        if b"mtime" in extended:
            mtime, mtime_ns = pax.time(extended[b"mtime"])
        xattrs = _xattrs(extended)
    if max(uid, gid) > _LARGEST_ID:
        raise CorruptLayer(f"owner {uid}:{gid} is out of range")
    if size > _LARGEST_SIZE:
        raise CorruptLayer(f"size {size} is out of range")
    if not -(1 << 63) <= mtime < 1 << 63:
        raise CorruptLayer(f"time {mtime} is out of range")
    if len(name) > LONGEST_PATH or len(link) > LONGEST_PATH:
        raise CorruptLayer(f"a path has more than {LONGEST_PATH} bytes")
    if b"\0" in name or b"\0" in link:
        raise CorruptLayer("a path holds a NUL byte")
    device = (0, 0)
    if kind is Kind.CHARACTER or kind is Kind.BLOCK_DEVICE:
        device = _number(block[329:337], "device number"), _number(block[337:345], "device number")
        if device[0] >= 1 << 12 or device[1] >= 1 << 20:
            raise CorruptLayer(f"device number {device[0]}:{device[1]} is out of range")
    return Entry(
        kind=kind,
        name=name,
        link=link,
        mode=_number(block[100:108], "mode") & 0o7777,
        uid=uid,
        gid=gid,
        mtime=mtime,
        mtime_ns=mtime_ns,
        size=size if kind is Kind.FILE else 0,
        offset=offset,
        device=device,
        xattrs=xattrs,
    )


def _xattrs(extended: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    for key, value in extended.items():
        if key.startswith(_XATTR):
            name = key[len(_XATTR) :]
            if not 0 < len(name) <= LONGEST_NAME or b"\0" in name or len(value) >= _MOST_XATTR_BYTES:
                raise CorruptLayer(f"extended attribute {name[:64]!r} is out of range")
            found.append((name, value))
        elif key.startswith(_SPARSE):
            raise CorruptLayer("sparse files are not supported")
    return tuple(found)


def _name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":
        # star keeps times in the prefix's last 24 bytes and signs with "tar" at the block's end.
        prefix = block[345:476] if block[508:512] == b"tar\0" else block[345:500]
        if prefix := prefix.split(b"\0", 1)[0]:
            return prefix + b"/" + name
    return name


def _number(field: bytes, what: str, *, signed: bool = False) -> int:
    """Octal digits, or base-256 with the top bit set (GNU)."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
    else:
        digits = field.split(b"\0", 1)[0].strip(b" ")
        if not digits:
            return 0
        try:
            value = int(digits, 8)
        except ValueError:
            raise CorruptLayer(f"{what} {digits!r} is no octal number") from None
    if value < 0 and not signed:
        raise CorruptLayer(f"{what} {value} is negative")
    return value


def _verify_checksum(block: bytes) -> None:
    stored = _number(block[148:156], "checksum")
    rest = block[:148] + block[156:]
    plain = sum(rest) + 8 * 0x20
    if stored != plain and stored != plain - 256 * sum(byte >= 0x80 for byte in rest):
        raise CorruptLayer("a tar header has a wrong checksum")
