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
from collections.abc import Callable

from oci.protocol import failures, transport
from oci.protocol.messages import Message
from oci.protocol.transport import Outgoing
from oci.shim.loop import Loop

_QUEUE = 256
_SILENT = 8
_UCRED = struct.Struct("=iII")


class Reply:
    """The place for a request's one answer, now or later; it goes nowhere when the daemon that asked has gone."""

    __slots__ = ("_peer", "_server", "id")

    def __init__(self, server: Server, peer: socket.socket | None, id: int) -> None:
        self._server = server
        self._peer = peer
        self.id = id

    def done(self, answer: Message) -> None:
        """The answer's descriptors are borrowed for the duration of this call."""
        self._server.send(self._peer, transport.prepare(self.id, answer))

    def fail(self, error: Exception) -> None:
        self._server.send_failure(self._peer, self.id, error)

    def send(self, data: bytes, fds: tuple[int, ...]) -> None:
        """A packet that somebody else has made."""
        self._server.send(self._peer, Outgoing(data, fds))


class Server:
    """`answer` replies, keeps the `Reply` for later, or raises. The request's descriptors are closed when it returns.

    An exception that is no error of `oci.errors` is also passed to `fault`.
    """

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        answer: Callable[[Message, Reply], None],
        fault: Callable[[BaseException], None],
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._answer = answer
        self._fault = fault
        self._peer: socket.socket | None = None
        self._silent: dict[int, socket.socket] = {}
        self._unsent: deque[Outgoing] = deque()
        loop.add(listener.fileno(), self._accept)

    def serve(self, peer: socket.socket) -> None:
        """Take the connection over; the one before is closed."""
        self._drop()
        peer.setblocking(False)
        self._peer = peer
        self._loop.add(peer.fileno(), self._ready)

    def event(self) -> Reply:
        """Where an event goes: to the daemon that is there when it happens."""
        return Reply(self, self._peer, 0)

    def tell(self, event: Message) -> None:
        if self._peer is not None:
            self.event().done(event)

    def send_failure(self, peer: socket.socket | None, id: int, error: Exception) -> None:
        failure = failures.from_exception(error)
        if not failure.error:
            self._fault(error)
        if id:
            self.send(peer, transport.prepare(id, failure))

    def send(self, peer: socket.socket | None, outgoing: Outgoing) -> None:
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
            peer, _address = self._listener.accept()
        except OSError:  # it went away again
            return
        _pid, uid, _gid = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid != os.geteuid() or len(self._silent) == _SILENT:
            peer.close()
            return
        self._silent[peer.fileno()] = peer
        self._loop.add(peer.fileno(), lambda events: self._spoke(peer))

    def _spoke(self, peer: socket.socket) -> None:
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

    def _receive(self, peer: socket.socket) -> None:
        try:
            packet = transport.receive(peer)
        except BlockingIOError:
            return
        except OSError:
            packet = None
        except failures.ProtocolError as error:
            self._fault(error)
            packet = None
        if packet is None:
            self._drop()
            return
        reply = Reply(self, peer, packet.id)
        try:
            self._answer(packet.message, reply)
        except Exception as error:
            reply.fail(error)
        finally:
            transport.close_descriptors(packet.message)

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
