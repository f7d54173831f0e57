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
import struct

from oci import sockets
from oci.enums import Enum
from oci.errors import ContainerError
from oci.sockets import Socket
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_LIMIT: Final = 8192
_FAILURE: Final = struct.Struct("!iH")


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

    def __init__(self, end: Socket) -> None:
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
        server = Socket(fileno=os.dup(listener))
        peer = sockets.accept(server)
        server.close()
        self.socket.close()
        self.socket = peer


def receive(sock: Socket) -> Message:
    """The next message from the child; blocks unless the socket does not. BlockingIOError when there is none yet."""
    try:
        data, ancillary, _, _ = sock.recvmsg(_LIMIT, sockets.ONE_FD, sockets.CLOEXEC)
    except ConnectionResetError:
        data, ancillary = b"", []
    return Message(kind=Kind(data[:1]), payload=data[1:], fd=sockets.received_fd(ancillary))


def answer(sock: Socket, kind: Kind) -> None:
    _send(sock, kind, b"", None)


def failure(payload: bytes) -> ContainerError:
    """The error of a FAILED message."""
    number, length = _FAILURE.unpack_from(payload)
    rest = payload[_FAILURE.size :]
    return ContainerError(rest[:length].decode(errors="replace"), number, rest[length:].decode(errors="replace"))


def pair() -> tuple[Socket, Socket]:
    return sockets.pair()


def _send(sock: Socket, kind: Kind, payload: bytes, fd: int | None) -> None:
    sockets.send(sock, kind.value + payload, fd)
