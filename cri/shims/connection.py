"""One SEQPACKET connection to a shim or to the launcher, on the event loop. Owns the socket; knows no verb.

Requests are answered in any order and matched by id; what has id 0 is an event. Descriptors that come in an answer
nobody waits for any more (its caller was cancelled) are closed here, so each received descriptor has one owner always.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from cri.shims.silence import Silence
from oci.protocol import failures, transport
from oci.protocol.messages import Message
from oci.protocol.transport import close_descriptors

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer", bound=Message)

# Packets handled before the loop gets a turn, so that a chatty shim cannot starve the other connections.
_BURST = 32


class ShimGone(Exception):
    """The process at the other end is not there (any more); `peer` names it."""

    def __init__(self, peer: str, problem: str) -> None:
        super().__init__(f"{peer}: {problem}")
        self.peer = peer
        self.problem = problem


class ShimHung(Exception):
    """The process at the other end lives and answers nobody; `peer` names it."""

    def __init__(self, peer: str, problem: str) -> None:
        super().__init__(f"{peer}: {problem}")
        self.peer = peer
        self.problem = problem


class Connection:
    """`on_event` and `on_lost` are called from the loop; `on_lost` once at most, and never after `close`.

    With a `probe` that anybody alive answers at once, a peer that hangs is found out: what waits for it, and every
    request until it is heard again, fails with `ShimHung` in the words of `hang`. Each answer to such a request that
    comes after all is thrown away, and `on_heard` called: the peer may have done what it was asked.
    """

    def __init__(
        self,
        peer: str,
        sock: socket.socket,
        *,
        on_event: Callable[[Message], None],
        on_lost: Callable[[], None],
        probe: Message | None = None,
        hang: Callable[[], str] = str,
    ) -> None:
        sock.setblocking(False)
        self.peer = peer
        self._socket = sock
        self._on_event = on_event
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        #: Until they are answered, whether their callers are still there or not.
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._given_up: set[int] = set()
        self._unsent: deque[transport.Outgoing] = deque()
        self._open = True
        self._probe = probe
        self._hang = hang
        self._hung: str | None = None
        self.on_heard: Callable[[], None] = _nothing
        self._silence = Silence(
            is_waiting=lambda: bool(self._waiting) and probe is not None, ask=self._ask, give_up=self._give_up
        )
        self._loop.add_reader(sock, self._readable)

    @property
    def is_open(self) -> bool:
        return self._open

    async def request(self, message: Message, answer: type[Answer]) -> Answer:
        """Raises what the peer raised, `ShimGone` or `ShimHung`.

        The message's descriptors are borrowed until this returns.
        """
        if not self._open:
            raise ShimGone(self.peer, "connection is closed")
        if self._hung is not None:
            raise ShimHung(self.peer, self._hung)
        id = next(self._ids)
        self._silence.begins()
        self._send(transport.prepare(id, message))
        future: asyncio.Future[Message] = self._loop.create_future()
        self._waiting[id] = future
        try:
            reply = await future
        except asyncio.CancelledError:
            # The answer may have come between the cancellation and this turn of the loop.
            if future.done() and not future.cancelled() and future.exception() is None:
                close_descriptors(future.result())
            raise
        if isinstance(reply, failures.Failure):
            raise failures.to_exception(reply)
        if not isinstance(reply, answer):
            close_descriptors(reply)
            raise failures.ProtocolError(f"{self.peer} answered {message.KIND} with {reply.KIND}")
        return reply

    def close(self) -> None:
        """Without `on_lost`: the owner knows."""
        self._on_lost = _nothing
        self._lose("connection is closed")

    def _ask(self) -> None:
        """Whatever comes back is a sign of life; nobody waits for it."""
        if self._probe is not None and not self._unsent:
            try:
                self._send(transport.prepare(next(self._ids), self._probe))
            except ShimGone:
                pass  # `on_lost` has been told

    def _give_up(self) -> None:
        self._hung = self._hang()
        self._given_up.update(self._waiting)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ShimHung(self.peer, self._hung))
        self._waiting.clear()

    def _heard(self) -> None:
        self._silence.ends()
        self._hung = None

    def _send(self, outgoing: transport.Outgoing) -> None:
        try:
            if not self._unsent:
                transport.send(self._socket, outgoing)
                outgoing.close()
                return
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._writable)
        except OSError as error:
            outgoing.close()
            self._lose(f"send failed: {error.strerror}")
            raise ShimGone(self.peer, f"send failed: {error.strerror}") from error
        # The caller may be cancelled and close its descriptors before the packet goes.
        self._unsent.append(outgoing.keep())

    def _writable(self) -> None:
        while self._unsent:
            try:
                transport.send(self._socket, self._unsent[0])
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(f"send failed: {error.strerror}")
                return
            self._unsent.popleft().close()
        self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        for _ in range(_BURST):
            if not self._open:  # a callback closed us
                return
            try:
                packet = transport.receive(self._socket)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(error.strerror or "connection broke")
                return
            except failures.ProtocolError as error:
                _log.error("dropping the connection to %s: %s", self.peer, error)
                self._lose(error.problem)
                return
            if packet is None:
                self._lose("exited")
                return
            self._heard()
            self._dispatch(packet.id, packet.message)

    def _dispatch(self, id: int, message: Message) -> None:
        if id == 0:
            self._on_event(message)
            return
        future = self._waiting.pop(id, None)
        if future is None or future.done():
            close_descriptors(message)
            if id in self._given_up:
                self._given_up.remove(id)
                self._loop.call_soon(self.on_heard)
        else:
            future.set_result(message)

    def _lose(self, problem: str) -> None:
        if not self._open:
            return
        self._open = False
        self._silence.close()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        while self._unsent:
            self._unsent.popleft().close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ShimGone(self.peer, problem))
        self._waiting.clear()
        self._on_lost()


def _nothing() -> None:
    pass
