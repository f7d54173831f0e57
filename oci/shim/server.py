"""The shim's socket: one daemon at a time, requests in, answers and events out. Knows no verb.

A daemon that connects and says something takes the place of the one before. What the socket cannot take at once
waits in a bounded queue; a daemon that has stopped reading is dropped, and learns what it missed when it comes again.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from oci.protocol import failures, packet, transport
from oci.protocol.failures import ProtocolError
from oci.protocol.messages import Message
from oci.protocol.transport import Outgoing
from oci.shim import buffer
from oci.shim.loop import Loop
from oci.shim.sockets import Socket

M = TypeVar("M", bound=Message)

_QUEUE = 256
_SILENT = 8
_UCRED = struct.Struct("=iII")


class Request:
    """What the daemon wants, unread but for its line, and the place for the one answer to it, now or later.

    The answer goes nowhere when the daemon that asked has gone. With id 0 it is an event of our own.
    """

    __slots__ = ("_peer", "_server", "data", "fds", "id", "key", "kind")

    def __init__(
        self, server: Server, peer: Socket | None, data: bytes = b"", fds: Sequence[int] = (), id: int = 0
    ) -> None:
        self._server = server
        self._peer = peer
        self.data = data
        self.fds = fds
        self.id = id
        self.kind = b""
        self.key = "-"
        if data:
            self.kind, self.id, self.key = packet.split(data)

    def read(self, cls: type[M]) -> M:
        """The whole message; its descriptors are borrowed from the request, which closes them when it is over."""
        message = packet.unpack(self.data, tuple(self.fds)).message
        if not isinstance(message, cls):
            raise ProtocolError(f"{message.KIND} where {cls.KIND} belongs")
        return message

    def done(self) -> None:
        self.send(packet.pack_done(self.id))

    def reply(self, answer: Message) -> None:
        """The answer's descriptors are borrowed for the duration of this call."""
        self._server.send(self._peer, transport.prepare(self.id, answer))

    def fail(self, error: Exception) -> None:
        failure = failures.from_exception(error)
        if not failure.error:
            self._server.fault(error)
        self.reply(failure)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """A packet that somebody else has made."""
        self._server.send(self._peer, Outgoing(data, tuple(fds)))


class Server:
    """`answer` answers, keeps the request for later, or raises. Its descriptors are closed when that returns.

    An exception that is no error of `oci.errors` is also passed to `fault`.
    """

    def __init__(self, loop: Loop, answer: Callable[[Request], None], fault: Callable[[BaseException], None]) -> None:
        self.fault = fault
        self._loop = loop
        self._answer = answer
        self._listener = -1
        self._peer: Socket | None = None
        self._silent: dict[int, Socket] = {}
        self._unsent: deque[Outgoing] = deque()

    def listen(self, listener: int) -> None:
        """A listening socket, non-blocking."""
        self._listener = listener
        self._loop.add(listener, self._accept)

    def serve(self, peer: Socket) -> None:
        """Take the connection over; the one before is closed."""
        self._drop()
        peer.setblocking(False)
        self._peer = peer
        self._loop.add(peer.fileno(), self._ready)

    def event(self) -> Request:
        """For an event: it goes to the daemon that is there now."""
        return Request(self, self._peer)

    def tell(self, event: Message) -> None:
        self.event().reply(event)

    def send(self, peer: Socket | None, outgoing: Outgoing) -> None:
        if peer is None or peer is not self._peer:
            outgoing.close()
            return
        try:
            if not self._unsent:
                transport.send(peer, outgoing)
                outgoing.close()
                return
        except BlockingIOError:
            self._loop.change(peer.fileno(), select.EPOLLIN | select.EPOLLOUT)
        except OSError:
            outgoing.close()
            self._drop()
            return
        self._unsent.append(outgoing.keep())
        if len(self._unsent) > _QUEUE:
            self._drop()

    def _accept(self, _: int) -> None:
        try:
            with socket.socket(fileno=os.dup(self._listener)) as listener:
                accepted, _address = listener.accept()
            peer = Socket(fileno=accepted.detach())
        except OSError:  # it went away again
            return
        _pid, uid, _gid = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid != os.geteuid() or len(self._silent) == _SILENT:
            peer.close()
            return
        self._silent[peer.fileno()] = peer
        self._loop.add(peer.fileno(), lambda events: self._spoke(peer))

    def _spoke(self, peer: Socket) -> None:
        """The first words of a new connection, or its end: a probe whether somebody listens here."""
        del self._silent[peer.fileno()]
        self._loop.remove(peer.fileno())
        if peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            self.serve(peer)
        else:
            peer.close()

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & ~select.EPOLLOUT and self._peer is not None:
            self._receive(self._peer)

    def _receive(self, peer: Socket) -> None:
        fds: Sequence[int] = ()
        try:
            raw = transport.receive_raw(peer, buffer.receive)
            if raw is None:
                self._drop()
                return
            data, fds = raw
            request = Request(self, peer, data, fds)
        except BlockingIOError:
            return
        except OSError:
            self._drop()
            return
        except ProtocolError as error:
            self.fault(error)
            transport.close_all(fds)
            self._drop()
            return
        self._loop.stir()
        try:
            self._answer(request)
        except Exception as error:
            request.fail(error)
        finally:
            transport.close_all(fds)

    def _flush(self) -> None:
        while self._unsent and self._peer is not None:
            try:
                transport.send(self._peer, self._unsent[0])
            except BlockingIOError:
                return
            except OSError:
                self._drop()
                return
            self._unsent.popleft().close()
        if self._peer is not None:
            self._loop.change(self._peer.fileno(), select.EPOLLIN)

    def _drop(self) -> None:
        while self._unsent:
            self._unsent.popleft().close()
        if self._peer is not None:
            self._loop.remove(self._peer.fileno())
            self._peer.close()
            self._peer = None
