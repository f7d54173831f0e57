"""Several logical connections over one: NRI's multiplexer, as sans-IO. Bytes in, frames out, and back.

    frame   connection (4 bytes, big-endian) | length (4 bytes, big-endian) | that many bytes

Opening and closing a logical connection is not signalled; both ends know the numbers. 0 is reserved.
"""

from __future__ import annotations

import struct
from typing import Final

from cri.nri.errors import ProtocolError
from oci.values import frozen

#: The plugin's service, called by the runtime.
PLUGIN_SERVICE: Final = 1
#: The runtime's service, called by the plugin.
RUNTIME_SERVICE: Final = 2

_HEADER: Final = struct.Struct(">II")
#: A whole ttrpc message: what the other implementations send at most in one frame.
LONGEST_PAYLOAD: Final = 10 + (4 << 20)
#: What the Go implementation reads of a message before it knows its length. It takes frames whole, into a buffer of
#: this size at first and one of the message's length then, and gives up when a frame does not fit.
_FIRST_PART: Final = 4096


@frozen
class Frame:
    connection: int
    payload: bytes


class Mux:
    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that are complete with `data`. Raises ProtocolError; the connection is of no use after that."""
        self._buffer += data
        frames = []
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            connection, length = _HEADER.unpack_from(self._buffer, start)
            if length > LONGEST_PAYLOAD:
                raise ProtocolError(f"a frame of {length} bytes, the longest allowed has {LONGEST_PAYLOAD}")
            end = start + _HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append(Frame(connection=connection, payload=bytes(self._buffer[start + _HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return frames


def wrap(connection: int, message: bytes) -> bytes:
    """The frames of one ttrpc message: one, or two for a long one (see `_FIRST_PART`), never more, since the Go
    implementation also gives up when too many frames wait to be read."""
    parts = [message[:_FIRST_PART], message[_FIRST_PART:]]
    return b"".join(_HEADER.pack(connection, len(part)) + part for part in parts if part)
