"""The conversation between the engine and a child it cloned: one SEQPACKET socketpair, one byte of kind per message.

    child -> parent                                      parent -> child
    MAPPINGS  write my id mappings                       GO      what you asked for is done
    SIBLING   a second clone replaced me (+ its pidfd)
    HOOKS     run prestart and createRuntime hooks
    ATTACHED  am I in my cgroup yet?
    CONSOLE   terminal master (+ descriptor)             (no answer)
    READY     set up, waiting                            START   finish and execute
    LISTENER  seccomp listener is descriptor N           GO
    FAILED    stage, errno, message; the child is gone
    (end of file) execve succeeded, the socket was close-on-exec

The child never unwinds into the parent's code: whatever happens to it becomes one FAILED message.
"""

from __future__ import annotations

import os
import socket
import struct
from enum import Enum
from typing import Final

from oci.errors import ContainerError
from oci.values import frozen

_LIMIT: Final = 8192
_FAILURE: Final = struct.Struct("!iH")
_ONE_FD: Final = socket.CMSG_SPACE(4)


class Kind(Enum):
    MAPPINGS = b"M"
    SIBLING = b"S"
    HOOKS = b"H"
    ATTACHED = b"A"
    CONSOLE = b"C"
    READY = b"R"
    LISTENER = b"L"
    FAILED = b"F"
    GO = b"g"
    START = b"s"
    EXECUTED = b""


@frozen
class Message:
    kind: Kind
    payload: bytes = b""
    fd: int | None = None


class ChildChannel:
    """The child's end; blocking."""

    __slots__ = ("socket",)

    def __init__(self, end: socket.socket) -> None:
        self.socket = end

    def tell(self, kind: Kind, payload: bytes = b"", fd: int | None = None) -> None:
        _send(self.socket, kind, payload, fd)

    def ask(self, kind: Kind, payload: bytes = b"", fd: int | None = None) -> None:
        """Send and wait for the parent's GO; a parent that is gone ends the child."""
        _send(self.socket, kind, payload, fd)
        self.wait(Kind.GO)

    def wait(self, kind: Kind) -> None:
        try:
            data = self.socket.recv(16)
        except ConnectionError:
            data = b""
        if data != kind.value:
            os._exit(1)

    def fail(self, stage: str, number: int, message: str) -> None:
        where, what = stage.encode(errors="replace")[:1024], message.encode(errors="replace")[:4096]
        try:
            _send(self.socket, Kind.FAILED, _FAILURE.pack(number, len(where)) + where + what, None)
        except OSError:
            pass  # the parent is gone; nobody is left to tell

    def take_over(self, listener: int) -> None:
        """Go on with whoever connects to the listening socket: the process that starts the container."""
        with socket.socket(fileno=os.dup(listener)) as server:
            peer, _ = server.accept()
        self.socket.close()
        self.socket = peer


def receive(sock: socket.socket) -> Message:
    """The next message from the child; blocks unless the socket does not. BlockingIOError when there is none yet."""
    try:
        data, ancillary, _, _ = sock.recvmsg(_LIMIT, _ONE_FD, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        data, ancillary = b"", []
    fd = None
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(content) >= 4:
            (fd,) = struct.unpack_from("=i", content)
    return Message(kind=Kind(data[:1]), payload=data[1:], fd=fd)


def answer(sock: socket.socket, kind: Kind) -> None:
    _send(sock, kind, b"", None)


def failure(payload: bytes) -> ContainerError:
    """The error of a FAILED message."""
    number, length = _FAILURE.unpack_from(payload)
    rest = payload[_FAILURE.size :]
    return ContainerError(rest[:length].decode(errors="replace"), number, rest[length:].decode(errors="replace"))


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _send(sock: socket.socket, kind: Kind, payload: bytes, fd: int | None) -> None:
    # Packed by hand: socket.send_fds imports a module when first called, which the child must not do.
    ancillary = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", fd))]
    sock.sendmsg([kind.value + payload], ancillary, socket.MSG_NOSIGNAL)
