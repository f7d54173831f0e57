"""Compressed layers: chunks in, tar chunks out. gzip (isal), zstd and plain tar, told apart by their first bytes.

Streams of several members or frames are one stream (eStargz writes thousands). Output comes in pieces of bounded size
however well the input is compressed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol, cast

from isal import isal_zlib

from imagesvc.layer.errors import CorruptLayer

_PIECE: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MAGIC_LENGTH: Final = 4
_GZIP_ERROR: Final = cast("type[Exception]", isal_zlib.error)  # its stub calls the class an instance


class _Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Inflater:
    def __init__(self) -> None:
        self._decoder: _Decoder | None = None
        self._head = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises CorruptLayer."""
        if self._decoder is None:
            self._head += data
            if len(self._head) < _MAGIC_LENGTH:
                return
            self._decoder = _decoder_for(self._head)
            data, self._head = self._head, b""
        yield from self._decoder.feed(data)

    def close(self) -> None:
        """The input has ended. Raises CorruptLayer where it is cut short."""
        if self._decoder is not None:
            self._decoder.close()
        elif self._head:
            raise CorruptLayer("the layer is no tar, gzip or zstd stream")


def _decoder_for(head: bytes) -> _Decoder:
    if head.startswith(_GZIP):
        return _Gzip()
    if head.startswith(_ZSTD) or (0x50 <= head[0] <= 0x5F and head[1:4] == b"\x2a\x4d\x18"):  # or a skippable frame
        return _Zstd()
    return _Plain()


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def close(self) -> None:
        pass


class _Gzip:
    def __init__(self) -> None:
        self._stream = isal_zlib.decompressobj(31)
        self._ended = False  # the last member is complete, no byte of another has come

    def feed(self, data: bytes) -> Iterator[bytes]:
        full = False  # the last piece was as long as allowed: there may be more inside
        while data or full:
            if self._ended:
                data = data.lstrip(b"\0") if data[0] == 0 else data  # padding of tapes
                if not data:
                    return
                self._stream, self._ended = isal_zlib.decompressobj(31), False
            try:
                piece: bytes = self._stream.decompress(data, _PIECE)
            except _GZIP_ERROR as error:
                raise CorruptLayer(f"the gzip stream is corrupt: {error}") from None
            if piece:
                yield piece
            full = len(piece) >= _PIECE
            if self._stream.eof:
                data, self._ended, full = self._stream.unused_data, True, False
            else:
                remaining: bytes = self._stream.unconsumed_tail
                if not piece and data and len(remaining) == len(data):
                    raise CorruptLayer("the gzip stream is corrupt: no progress")
                data = remaining

    def close(self) -> None:
        if not self._ended:
            raise CorruptLayer("the gzip stream is cut short")


class _Zstd:
    def __init__(self) -> None:
        # Imported only where it is needed: most layers are gzip.
        import sys

        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        self._zstd = zstd
        self._stream = zstd.ZstdDecompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not self._stream.needs_input:
            if self._stream.eof:
                data = self._stream.unused_data + data
                self._stream, self._begun = self._zstd.ZstdDecompressor(), False
                if not data:
                    return
            try:
                piece = self._stream.decompress(data, max_length=_PIECE)
            except self._zstd.ZstdError as error:
                raise CorruptLayer(f"the zstd stream is corrupt: {error}") from None
            self._begun, data = True, b""
            if piece:
                yield piece

    def close(self) -> None:
        if self._begun and not self._stream.eof:
            raise CorruptLayer("the zstd stream is cut short")
