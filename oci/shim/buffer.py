"""One buffer for all that a shim reads, made before the launcher forks.

A buffer for each read would come from the free places of the heap, and cutting it to size writes to several pages of
them. Of this one, only the pages that data reach are ever the shim's own.
"""

from __future__ import annotations

from os import readv
from socket import SocketType
from typing import Final

from oci.shim.sockets import CLOEXEC

SIZE: Final = 64 << 10

_buffer: Final = bytearray(SIZE)
_view: Final = memoryview(_buffer)
_vector: Final = (_buffer,)


def read(fd: int) -> bytes:
    """What is there, at most SIZE; raises what read(2) raises."""
    return bytes(_view[: readv(fd, _vector)])


def receive(sock: SocketType, ancillary: int) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
    """A packet, its control messages, the flags; descriptors are close-on-exec."""
    count, control, flags, _ = sock.recvmsg_into(_vector, ancillary, CLOEXEC)
    return bytes(_view[:count]), control, flags
