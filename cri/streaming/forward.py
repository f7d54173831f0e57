"""One forwarded connection: a socket in a pod and the client's two channels for it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from cri.errors import status_of
from cri.streaming.descriptors import DescriptorSink, DescriptorSource
from cri.streaming.flow import Channel, Unread
from cri.streaming.runtime import Runtime

_log: Final = logging.getLogger(__name__)


async def forward(
    runtime: Runtime, sandbox_id: str, port: int, data: Channel, error: Channel, *, client_finishes: bool = True
) -> None:
    """Until both directions have ended, or the client has reset `data`. What goes wrong is a sentence on `error`.

    `client_finishes`: the client can say that it sends no more; otherwise the pod's end is the end.
    """
    error.receive_with(Unread())
    try:
        connection = await runtime.connect(sandbox_id, port)
    except Exception as problem:
        data.receive_with(Unread())
        error.write(_text(problem, port).encode())
    else:
        with connection:
            await _pump(connection, data, client_finishes)
    data.finish()
    error.finish()


async def _pump(connection: socket.socket, data: Channel, client_finishes: bool) -> None:
    source = DescriptorSource(connection.fileno(), data)
    sent, aborted = asyncio.Event(), asyncio.Event()

    def finish_sending() -> None:
        _shut_down(connection)
        sent.set()

    async def both_ways() -> None:
        await source.ended.wait()
        data.finish()  # the client is told at once; what it still sends goes out
        if client_finishes:
            await sent.wait()

    sink = _DataSink(connection.fileno(), data, finish_sending, aborted.set)
    over = asyncio.create_task(both_ways())
    gone = asyncio.create_task(aborted.wait())
    try:
        await asyncio.wait((over, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        over.cancel()
        gone.cancel()
        sink.stop()
        source.stop()


class _DataSink(DescriptorSink):
    """A sink that tells a reset from an end."""

    def __init__(self, fd: int, channel: Channel, on_end: Callable[[], None], on_reset: Callable[[], None]) -> None:
        self._on_reset = on_reset
        super().__init__(fd, channel, on_end)

    def reset(self) -> None:
        self._on_reset()
        super().reset()


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
