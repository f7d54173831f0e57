"""Forwards a client's connections to ports of a pod: for each, a pair of streams and a socket.

The client opens an error stream and a data stream with the same request id. Bytes of the data stream go to the port and
back; what goes wrong is a sentence on the error stream. Both are finished when the connection is over.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final

from cri.errors import status_of
from cri.streaming.descriptors import DescriptorSink, DescriptorSource
from cri.streaming.errors import ProtocolError
from cri.streaming.flow import Unread
from cri.streaming.runtime import Runtime
from cri.streaming.spdy_session import SpdyChannel
from cri.streaming.tickets import PortForwardTicket

_log: Final = logging.getLogger(__name__)

#: For the second stream of a pair, once the first is there.
PAIR_TIMEOUT_S: Final = 30.0


class PortForwarder:
    """The pairs of one client. `accept` is for its `SpdySession`; `close` ends all."""

    def __init__(self, runtime: Runtime, ticket: PortForwardTicket) -> None:
        self._runtime = runtime
        self._ticket = ticket
        self._waiting: dict[str, tuple[SpdyChannel, asyncio.TimerHandle]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, channel: SpdyChannel) -> bool:
        kind = channel.headers.get("streamtype")
        if kind not in ("data", "error"):
            raise ProtocolError("port-forward", "stream without a known type")
        port = _port(channel)
        request_id = _request_id(channel)
        if request_id not in self._waiting:
            timer = asyncio.get_running_loop().call_later(PAIR_TIMEOUT_S, self._give_up, request_id)
            self._waiting[request_id] = channel, timer
            return True
        other, timer = self._waiting.pop(request_id)
        timer.cancel()
        if other.headers.get("streamtype") == kind or _port(other) != port:
            raise ProtocolError("port-forward", f"request {request_id!r} is no pair of streams")
        data, error = (channel, other) if kind == "data" else (other, channel)
        # Not before the client has its reply to this very stream.
        self._start(self._forward(port, data, error))
        return True

    def close(self) -> None:
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        for task in tuple(self._tasks):
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _give_up(self, request_id: str) -> None:
        channel, _ = self._waiting.pop(request_id)
        channel.reset()

    async def _forward(self, port: int, data: SpdyChannel, error: SpdyChannel) -> None:
        error.receive_with(Unread())
        try:
            connection = await self._runtime.connect(self._ticket.sandbox_id, port)
        except Exception as problem:
            data.receive_with(Unread())
            error.write(_text(problem, port).encode())
        else:
            with connection:
                await _pump(connection, data)
        data.finish()
        error.finish()


async def _pump(connection: socket.socket, data: SpdyChannel) -> None:
    """Both directions until both have ended, or the client has reset the stream."""
    source = DescriptorSource(connection.fileno(), data)
    sent = asyncio.Event()
    aborted = asyncio.Event()

    def finish_sending() -> None:
        _shut_down(connection)
        sent.set()

    sink = _DataSink(connection.fileno(), data, finish_sending, aborted.set)
    over = asyncio.create_task(_both(source.ended, sent, data))
    gone = asyncio.create_task(aborted.wait())
    try:
        await asyncio.wait((over, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        over.cancel()
        gone.cancel()
        sink.stop()
        source.stop()


async def _both(received: asyncio.Event, sent: asyncio.Event, data: SpdyChannel) -> None:
    await received.wait()
    data.finish()  # the client is told at once; what it still sends goes out
    await sent.wait()


class _DataSink(DescriptorSink):
    """A sink that tells a reset from an end."""

    def __init__(self, fd: int, channel: SpdyChannel, on_end: Callable[[], None], on_reset: Callable[[], None]) -> None:
        self._on_reset = on_reset
        super().__init__(fd, channel, on_end)

    def reset(self) -> None:
        self._on_reset()
        super().reset()


def _port(channel: SpdyChannel) -> int:
    text = channel.headers.get("port", "")
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise ProtocolError("port-forward", f"{text[:20]!r} is not a port")
    return int(text)


def _request_id(channel: SpdyChannel) -> str:
    """Clients before Kubernetes 1.1 name none: they open the error stream and then the data stream."""
    first = channel.stream_id - (2 if channel.headers["streamtype"] == "data" else 0)
    return channel.headers.get("requestid", str(first))


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the pod has closed it already


def _text(error: Exception, port: int) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    status = status_of(error)
    if status.unexpected:
        _log.error("port %d cannot be forwarded", port, exc_info=error)
    return status.text
