"""Forwards a client's connections to ports of a pod: for each, a pair of streams and a socket.

The client opens an error stream and a data stream with the same request id. Bytes of the data stream go to the port and
back; what goes wrong is a sentence on the error stream. Both are finished when the connection is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from cri.streaming.errors import ProtocolError
from cri.streaming.forward import forward
from cri.streaming.runtime import Runtime
from cri.streaming.spdy_session import SpdyChannel
from cri.streaming.tickets import PortForwardTicket
from cri.streaming.websocket_session import WebSocketSession

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
        self._start(forward(self._runtime, self._ticket.sandbox_id, port, data, error))
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


async def forward_ports(runtime: Runtime, ticket: PortForwardTicket, session: WebSocketSession) -> None:
    """For old WebSocket clients: channels 2i and 2i+1 are data and error of the i-th port that was announced.

    The first message on each names the port, as two bytes, little-endian.
    """
    connections = []
    for index, port in enumerate(ticket.ports):
        data, error = session.by_number[2 * index], session.by_number[2 * index + 1]
        for channel in (data, error):
            channel.write(port.to_bytes(2, "little"))
        connections.append(forward(runtime, ticket.sandbox_id, port, data, error, client_finishes=False))
    await asyncio.gather(*connections)
    session.finish()


def _port(channel: SpdyChannel) -> int:
    text = channel.headers.get("port", "")
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise ProtocolError("port-forward", f"{text[:20]!r} is not a port")
    return int(text)


def _request_id(channel: SpdyChannel) -> str:
    """Clients before Kubernetes 1.1 name none: they open the error stream and then the data stream."""
    first = channel.stream_id - (2 if channel.headers["streamtype"] == "data" else 0)
    return channel.headers.get("requestid", str(first))
