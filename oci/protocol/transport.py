"""Packets over a SEQPACKET socket with SCM_RIGHTS: the acting half of the protocol. Knows no message.

Every received descriptor is close-on-exec from the first instant. When something is wrong with a packet its
descriptors are closed here and `ProtocolError` is raised; the connection is then of no more use.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from oci.protocol import packet
from oci.protocol.failures import ProtocolError
from oci.protocol.messages import Message

# Plain numbers: an operation on a flag of `enum` runs a page of Python, and makes every shim copy it.
_CUT: Final = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_ANCILLARY: Final = socket.CMSG_SPACE(packet.FD_LIMIT * array.array("i").itemsize)


Read: TypeAlias = Callable[[socket.SocketType, int], tuple[bytes, list[tuple[int, int, bytes]], int]]


class Outgoing:
    """A packet that is ready to go; `owned` are descriptors to close once it has gone, the others are borrowed."""

    __slots__ = ("data", "fds", "owned")

    def __init__(self, data: bytes, fds: tuple[int, ...], owned: tuple[int, ...] = ()) -> None:
        self.data = data
        self.fds = fds
        self.owned = owned

    def keep(self) -> Outgoing:
        """The same packet with descriptors of its own, for one that cannot go at once."""
        kept = tuple(os.dup(fd) for fd in self.fds)
        self.close()
        return Outgoing(self.data, kept, kept)

    def close(self) -> None:
        close_all(self.owned)


def prepare(id: int, message: Message) -> Outgoing:
    """Borrows the message's descriptors: they must stay open until the packet has been sent."""
    data, fds = packet.pack(id, message)
    if len(data) <= packet.INLINE_LIMIT:
        return Outgoing(data, fds)
    if len(fds) == packet.FD_LIMIT:
        raise ProtocolError(f"{message.KIND}: no room for the descriptor of a packet of {len(data)} bytes")
    spill = os.memfd_create("packet", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(spill, view) :]
    except OSError:
        os.close(spill)
        raise
    return Outgoing(packet.pack_spill(len(data)), (*fds, spill), (spill,))


def send(sock: socket.SocketType, outgoing: Outgoing) -> None:
    """Raises what sendmsg(2) raises, BlockingIOError among it, and then nothing has been sent."""
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", outgoing.fds))] if outgoing.fds else []
    sock.sendmsg([outgoing.data], control)


def receive(sock: socket.SocketType) -> packet.Packet | None:
    """The next packet; None when the peer has closed its end. Raises OSError and `ProtocolError`."""
    raw = receive_raw(sock)
    if raw is None:
        return None
    data, fds = raw
    try:
        return packet.unpack(data, tuple(fds))
    except BaseException:
        close_all(fds)
        raise


def receive_raw(sock: socket.SocketType, read: Read | None = None) -> tuple[bytes, Sequence[int]] | None:
    """The same, not looked into; the descriptors are the caller's. `read` is another way to receive a packet."""
    data, control, flags = (read or _read)(sock, _ANCILLARY)
    fds = _descriptors(control) if control else ()
    if data and not flags & _CUT and not data.startswith(b"s"):
        return data, fds
    try:
        if not data:
            close_all(fds)
            return None
        if flags & _CUT:
            raise ProtocolError(f"packet was cut to {len(data)} bytes and {len(fds)} descriptors")
        size = packet.spill_size(data)
        if size is None or not fds:
            raise ProtocolError("spilled packet without its size or its descriptor")
        content = _read_spill(fds[-1], size)
        os.close(fds[-1])
        return content, fds[:-1]
    except BaseException:
        close_all(fds)
        raise


def _read(sock: socket.SocketType, ancillary: int) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
    data, control, flags, _ = sock.recvmsg(packet.INLINE_LIMIT, ancillary, _CLOEXEC)
    return data, control, flags


def _descriptors(control: list[tuple[int, int, bytes]]) -> Sequence[int]:
    fds = array.array("i")
    for level, kind, content in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return fds


def _read_spill(fd: int, size: int) -> bytes:
    parts = []
    offset = 0
    while offset < size:
        part = os.pread(fd, size - offset, offset)
        if not part:
            raise ProtocolError(f"spilled packet ends after {offset} of {size} bytes")
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def close_descriptors(message: Message) -> None:
    """Close every descriptor that a received message carries."""
    for name in message.FDS:
        value = getattr(message, name)
        close_all(() if value is None else (value,) if isinstance(value, int) else value)


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
