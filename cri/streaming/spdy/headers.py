"""Header blocks: names and values, compressed in one zlib stream for each direction of a connection. Pure.

A block is part of a stream that the whole connection shares: one that cannot be read spoils all later ones, so every
error here ends the connection.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, TypeAlias

from cri.streaming.errors import ProtocolError
from cri.streaming.spdy.dictionary import DICTIONARY

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Lower-case names; one that has several values comes several times."""

#: A block after decompression. Kubernetes sends three headers of a few bytes each.
MAX_BLOCK: Final = 64 << 10
MAX_HEADERS: Final = 256

_LENGTH: Final = struct.Struct(">I")
# The smallest window that holds the dictionary: what we send is short, and each connection has one.
_WINDOW_BITS: Final = 11
_MEMORY_LEVEL: Final = 1


class HeaderWriter:
    def __init__(self) -> None:
        self._zlib = zlib.compressobj(
            level=6, wbits=_WINDOW_BITS, memLevel=_MEMORY_LEVEL, strategy=zlib.Z_DEFAULT_STRATEGY, zdict=DICTIONARY
        )

    def write(self, headers: Headers) -> bytes:
        """A compressed block. ValueError for what a block cannot carry."""
        values: dict[str, list[str]] = {}
        for name, value in headers:
            if not name or name != name.lower() or "\0" in value:
                raise ValueError(f"header {name!r} with value {value!r} cannot be sent")
            values.setdefault(name, []).append(value)
        parts = [_LENGTH.pack(len(values))]
        for name, texts in values.items():
            for data in (name.encode("latin-1"), "\0".join(texts).encode("latin-1")):
                parts += _LENGTH.pack(len(data)), data
        return self._zlib.compress(b"".join(parts)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class HeaderReader:
    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def read(self, compressed: bytes) -> Headers:
        """Raises ProtocolError."""
        try:
            block = self._zlib.decompress(compressed, MAX_BLOCK + 1)
        except zlib.error as error:
            raise _error(f"header block cannot be decompressed: {error}") from None
        if len(block) > MAX_BLOCK:
            raise _error(f"header block is larger than {MAX_BLOCK} bytes")
        if self._zlib.eof:
            raise _error("header compression ended")
        return tuple(_parse(block))


def _parse(block: bytes) -> Iterator[tuple[str, str]]:
    count, position = _number(block, 0)
    if count > MAX_HEADERS:
        raise _error(f"{count} headers, more than {MAX_HEADERS}")
    seen: set[str] = set()
    for _ in range(count):
        name, position = _string(block, position)
        value, position = _string(block, position)
        if not name or name != name.lower():
            raise _error(f"header name {name!r} is not lower case")
        if name in seen:
            raise _error(f"header {name!r} comes twice")
        seen.add(name)
        for part in value.split("\0"):
            yield name, part
    if position != len(block):
        raise _error("bytes after the last header")


def _number(block: bytes, position: int) -> tuple[int, int]:
    if position + _LENGTH.size > len(block):
        raise _error("header block is cut short")
    return _LENGTH.unpack_from(block, position)[0], position + _LENGTH.size


def _string(block: bytes, position: int) -> tuple[str, int]:
    length, position = _number(block, position)
    end = position + length
    if end > len(block):
        raise _error("header block is cut short")
    return block[position:end].decode("latin-1"), end


def _error(problem: str) -> ProtocolError:
    return ProtocolError("spdy", problem)
