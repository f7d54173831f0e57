"""Unix sockets by the C half of `socket`: its Python half brings `selectors` and `enum` along, and a slower object.

Such a socket is no context manager; `closing_socket` makes one of it.
"""

from __future__ import annotations

import _socket
import struct
from _socket import AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, socketpair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

Socket = _socket.socket

CLOEXEC: Final = int(_socket.MSG_CMSG_CLOEXEC)
ONE_FD: Final = _socket.CMSG_SPACE(4)
_RIGHTS: Final = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
_NOSIGNAL: Final = int(_socket.MSG_NOSIGNAL)


def pair() -> tuple[Socket, Socket]:
    """Connected SEQPACKET sockets, close-on-exec."""
    return socketpair(AF_UNIX, SOCK_SEQPACKET)


def send(sock: Socket, payload: bytes, fd: int | None = None) -> None:
    """One message, at most one descriptor."""
    ancillary = [] if fd is None else [(*_RIGHTS, struct.pack("=i", fd))]
    sock.sendmsg([payload], ancillary, _NOSIGNAL)


def received_fd(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The descriptor that came with a message."""
    fd = None
    for level, kind, content in ancillary:
        if (level, kind) == _RIGHTS and len(content) >= 4:
            (fd,) = struct.unpack_from("=i", content)
    return fd


def accept(listener: Socket) -> Socket:
    server: Any = listener  # its C method is nobody's business, says the type stub
    return Socket(fileno=server._accept()[0])


class closing_socket:
    """A new socket, closed on the way out."""

    __slots__ = ("_socket",)

    def __init__(self, family: int, kind: int) -> None:
        self._socket = Socket(family, kind)

    def __enter__(self) -> Socket:
        return self._socket

    def __exit__(self, *error: object) -> None:
        self._socket.close()


__all__ = [
    "AF_INET",
    "AF_UNIX",
    "CLOEXEC",
    "ONE_FD",
    "SOCK_DGRAM",
    "SOCK_SEQPACKET",
    "SOCK_STREAM",
    "Socket",
    "accept",
    "closing_socket",
    "pair",
    "received_fd",
    "send",
]
