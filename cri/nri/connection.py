"""A plugin's socket: calls in both directions at once, over one multiplexed connection.

Owns the bytes on the way and the calls that wait for an answer; what is called, and what answers, is the plugin's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast

from cri.nri import mux, ttrpc
from cri.nri.errors import CallFailed, NriError, PluginGone, ProtocolError

#: Calls of one plugin that may be under way at once.
MOST_CALLS: Final = 16

#: (service, method) → takes the serialized argument, gives the serialized result; may raise CallFailed.
Handlers = Mapping[tuple[str, str], Callable[[bytes], Awaitable[bytes]]]


class Connection(asyncio.Protocol):
    """`on_lost` is called once, when the connection has ended for whatever reason."""

    def __init__(self, handlers: Handlers, on_lost: Callable[[], None]) -> None:
        self._handlers = handlers
        self._on_lost = on_lost
        self._log = logging.getLogger("cri.nri")
        self._mux = mux.Mux()
        self._caller = ttrpc.Caller()
        self._answerer = ttrpc.Answerer()
        self._waiting: dict[int, asyncio.Future[ttrpc.Response]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport | None = None
        self.lost = False

    async def call(self, service: str, method: str, payload: bytes, timeout_s: float) -> bytes:
        """The serialized result. Raises CallFailed, PluginGone, ttrpc.MessageTooLong.

        A call that is not answered in time closes the connection: nobody can know in which state the plugin is.
        """
        if self.lost or self._transport is None:
            raise PluginGone(f"{method}: the connection is closed")
        stream, data = self._caller.call(service, method, payload, int(timeout_s * 1e9))
        answer = self._waiting[stream] = asyncio.get_running_loop().create_future()
        self._transport.write(mux.wrap(mux.PLUGIN_SERVICE, data))
        try:
            async with asyncio.timeout(timeout_s):
                response: ttrpc.Response = await answer
        except TimeoutError:
            self.close()
            raise PluginGone(f"{method}: no answer within {timeout_s:g} s") from None
        finally:
            self._waiting.pop(stream, None)
            self._caller.forget(stream)
        if response.code != ttrpc.OK:
            raise CallFailed(method, response.code, response.text)
        return response.payload

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._mux.receive(data):
                # Frames for connections that nobody knows are dropped, as every implementation does.
                if frame.connection == mux.PLUGIN_SERVICE:
                    self._answers(frame.payload)
                elif frame.connection == mux.RUNTIME_SERVICE:
                    self._calls(frame.payload)
        except ProtocolError as error:
            self._log.warning("NRI: a plugin's connection is closed: %s", error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if self.lost:
            return
        self.lost = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(PluginGone("the connection was closed"))
        for task in self._answering:
            task.cancel()
        self._on_lost()

    # --- both roles ---------------------------------------------------------------------------------------------------

    def _answers(self, data: bytes) -> None:
        for response in self._caller.receive(data):
            answer = self._waiting.get(response.stream)
            if answer is not None and not answer.done():
                answer.set_result(response)

    def _calls(self, data: bytes) -> None:
        requests, refusals = self._answerer.receive(data)
        if refusals:
            self._send(refusals)
        for request in requests:
            if len(self._answering) >= MOST_CALLS:
                self._refuse(request, ttrpc.RESOURCE_EXHAUSTED, f"{MOST_CALLS} calls are under way")
                continue
            task = asyncio.ensure_future(self._answer(request))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, request: ttrpc.Request) -> None:
        handler = self._handlers.get((request.service, request.method))
        if handler is None:
            self._refuse(request, ttrpc.UNIMPLEMENTED, f"{request.service}/{request.method} is not served here")
            return
        try:
            result = await handler(request.payload)
            self._send(self._answerer.answer(ttrpc.Response(stream=request.stream, payload=result)))
        except CallFailed as error:
            self._refuse(request, error.code, error.text)
        except (NriError, ttrpc.MessageTooLong) as error:
            self._refuse(request, ttrpc.UNKNOWN, str(error))
        except Exception:
            self._log.exception("NRI: answering %s failed", request.method)
            self._refuse(request, ttrpc.INTERNAL, "a defect of the runtime, see its log")

    def _refuse(self, request: ttrpc.Request, code: int, text: str) -> None:
        self._send(self._answerer.answer(ttrpc.Response(stream=request.stream, code=code, text=text)))

    def _send(self, message: bytes) -> None:
        if self._transport is not None and not self.lost:
            self._transport.write(mux.wrap(mux.RUNTIME_SERVICE, message))
