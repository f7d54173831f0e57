"""Sockets as the resident part uses them: the C half of `socket.socket`, and plain numbers for its flags.

The Python half adds a class, four functions and the enums to every socket that is made or closed: ten pages more of a
shim's own.
"""

from __future__ import annotations

import socket
from _socket import socketpair
from typing import Final

Socket = socket.SocketType

CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_UNIX: Final = int(socket.AF_UNIX)
_SEQPACKET: Final = int(socket.SOCK_SEQPACKET)


def pair() -> tuple[Socket, Socket]:
    """Connected SEQPACKET sockets, close-on-exec."""
    return socketpair(_UNIX, _SEQPACKET)
