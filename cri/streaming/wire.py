"""One client's TCP or TLS connection on the event loop: bytes, pauses, silence, and how it ends. Knows no protocol.

While nobody reads from the client, the kernel tells of its departure only if asked: so a paused wire asks now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import Callable
from typing import Final

from cri.streaming.errors import ProtocolError
from cri.streaming.flow import LinkUser

_log: Final = logging.getLogger(__name__)

#: After our last byte the client is given this long to read it and to close: closing first could take it away again.
LINGER_S: Final = 5.0
#: How often a paused wire looks whether the client is still there.
_LOOK_S: Final = 1.0
#: A peer that answers no probe for a minute is gone.
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6))
_WRITE_BUFFER: Final = 256 << 10


class Wire(asyncio.Protocol):
    """A `Link`. Made for each connection that is accepted; `user` gets the bytes, and may be exchanged at any time."""

    def __init__(self, user: LinkUser, *, idle_timeout: float, on_closed: Callable[[Wire], None]) -> None:
        self.user = user
        self._on_closed = on_closed
        self._idle_timeout = idle_timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._pausers: set[object] = set()
        self._active_at = self._loop.time()
        self._idle: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._finishing = False
        self._gone = False

    # --- Link

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._finishing:
            self._active_at = self._loop.time()
            self._transport.write(data)

    def pause(self, owner: object) -> None:
        if not self._pausers and self._transport is not None and not self._finishing:
            self._transport.pause_reading()
            self._look = self._loop.call_later(_LOOK_S, self._look_for_client)
        self._pausers.add(owner)

    def resume(self, owner: object) -> None:
        if owner not in self._pausers:
            return
        self._pausers.discard(owner)
        if not self._pausers:
            self._resume()

    def finish(self) -> None:
        if self._transport is None or self._finishing:
            return
        self._finishing = True
        self._resume()  # from here on what comes is thrown away, and the end of it awaited
        if not self._transport.can_write_eof():  # TLS: its own closing handshake does the same
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # ENOTCONN: a client that had its answer may have reset the connection, which is no failure
            self.abort()
            return
        self._transport.set_write_buffer_limits(0)
        if not self._transport.get_write_buffer_size():
            self.resume_writing()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_BUFFER)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self._idle = self._loop.call_later(self._idle_timeout, self._check_idle)

    def data_received(self, data: bytes) -> None:
        self._active_at = self._loop.time()
        if self._finishing:
            return
        try:
            self.user.received(data)
        except ProtocolError as error:
            _log.info("client dropped: %s", error)
            self.user.broken()
            self._end()
            self.finish()

    def eof_received(self) -> bool:
        self._end()
        return False

    def pause_writing(self) -> None:
        if not self._finishing:
            self.user.slow()

    def resume_writing(self) -> None:
        if not self._finishing:
            self.user.quick()
        elif self._linger is None:
            self._linger = self._loop.call_later(LINGER_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for timer in (self._idle, self._look, self._linger):
            if timer is not None:
                timer.cancel()
        self._end()
        self._on_closed(self)

    # ---

    def _end(self) -> None:
        if not self._gone:
            self._gone = True
            self.user.gone()

    def _resume(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._transport is not None:
            self._transport.resume_reading()

    def _look_for_client(self) -> None:
        self._look = self._loop.call_later(_LOOK_S, self._look_for_client)
        if self._transport is None:
            return
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        with contextlib.suppress(OSError):
            if poll.poll(0):  # it closed its end, or the connection broke: nobody waits for us
                self.abort()

    def _check_idle(self) -> None:
        left = self._active_at + self._idle_timeout - self._loop.time()
        if left > 0:
            self._idle = self._loop.call_later(left, self._check_idle)
        else:
            _log.info("client dropped: silent for %g s", self._idle_timeout)
            self.abort()
