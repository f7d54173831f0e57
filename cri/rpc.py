"""The one wrapper around every call: request id, log line, metrics, span, deadline, and the mapping of errors.

A handler is `async def name(daemon, request, call) -> response` for a call with one answer, and an async generator of
responses for a stream. It may return the response as serialized bytes (lists are kept that way). What it raises becomes
the status that `cri.errors` says; a traceback goes to the log, never to the client.

All calls of a service are registered, from its descriptor; one without a handler answers UNIMPLEMENTED. When the client
goes away or its deadline passes, the handler's task is cancelled: a handler that must finish runs its work in a task of
its own and shields it (`cri.joined`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from cri.errors import Status, Unavailable, Unimplemented, status_of
from cri.log_lines import call_fields, fields
from cri.metrics import Metrics, Operation
from cri.redaction import identity, loggable
from cri.tracing import NO_SPAN, Span, Tracing, current_span

D = TypeVar("D")
Handler = Callable[[D, Any, "Call"], Any]

_log: Final = logging.getLogger("cri.rpc")

#: Asked for every second or by every probe: logged at the debug level unless they fail.
_FREQUENT: Final = (
    "List",
    "Stream",
    "Version",
    "Status",
    "ImageFsInfo",
    "RuntimeConfig",
    "ExecSync",
    "GetContainerEvents",
)

#: Codes that are the normal answer to a question ("is it there?") rather than something gone wrong.
_UNREMARKABLE: Final = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call under way. `deadline` is a time of `time.monotonic()`; `metadata` holds the texts that came with it."""

    request_id: str
    method: str
    deadline: float | None = None
    metadata: Mapping[str, str]
    span: Span = NO_SPAN
    is_cancelled: Callable[[], bool] = bool

    def time_remaining(self) -> float | None:
        """Seconds to answer in, a little less than the caller will wait so that a refusal can still say why."""
        if self.deadline is None:
            return None
        remaining = self.deadline - time.monotonic()
        return max(0.0, remaining - max(0.002, min(0.1, remaining * 0.1)))

    @property
    def will_be_heard(self) -> bool:
        """An answer given now reaches its caller. In the last moments of its patience that is not certain: no."""
        remaining = self.time_remaining()
        return not self.cancelled and (remaining is None or remaining > 0)

    @property
    def cancelled(self) -> bool:
        """Nobody waits for the answer any more."""
        return self.is_cancelled()


class RequestIDs:
    """Short ids, unique on this node: a random part for this start of the daemon, and a number."""

    def __init__(self, start: str | None = None) -> None:
        self._start = start if start is not None else secrets.token_hex(3)
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        return f"{self._start}-{next(self._numbers)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Method:
    """What is known of a call before it is made."""

    name: str
    span_name: str
    frequent: bool
    identity: Callable[[Any], dict[str, str]]
    operation: Operation
    streams: bool


class Wrapper(Generic[D]):
    """Puts calls around the handlers of one daemon."""

    def __init__(
        self, daemon: D, metrics: Metrics, tracing: Tracing, request_ids: Callable[[], str] | None = None
    ) -> None:
        self._daemon = daemon
        self._metrics = metrics
        self._tracing = tracing
        self._request_ids = request_ids or RequestIDs()

    def service(
        self, service: ServiceDescriptor, handlers: Mapping[str, Handler[D]]
    ) -> grpc.GenericRpcHandler[Any, Any]:
        """All methods of `service`, for `grpc.aio.Server.add_generic_rpc_handlers`."""
        names = {method.name for method in service.methods}
        if strangers := sorted(handlers.keys() - names):
            raise ValueError(f"{service.full_name} has no methods {', '.join(strangers)}")
        return grpc.method_handlers_generic_handler(
            service.full_name,
            {method.name: self._method(method, handlers.get(method.name)) for method in service.methods},
        )

    def _method(self, descriptor: MethodDescriptor, handler: Handler[D] | None) -> grpc.RpcMethodHandler[Any, Any]:
        method = _Method(
            name=descriptor.name,
            span_name=f"{descriptor.containing_service.full_name}/{descriptor.name}",
            frequent=descriptor.name.startswith(_FREQUENT) or descriptor.name.endswith(("Status", "Stats")),
            identity=identity(descriptor.input_type),
            operation=self._metrics.operation(descriptor.name),
            streams=descriptor.server_streaming,
        )
        parse = _parser(descriptor.input_type)
        if method.streams:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler or _missing_stream(method.name)), parse, _serialize
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler or _missing_unary(method.name)), parse, _serialize
        )

    def _unary(self, method: _Method, handler: Handler[D]) -> Any:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            call = self._begin(method, request, context)
            started = time.perf_counter()
            try:
                response = await handler(self._daemon, request, call)
            except BaseException as error:
                status = self._end(method, call, request, started, error)
                if _is_over(error):
                    raise
                await context.abort(status.code, status.text)
            self._end(method, call, request, started, None)
            return response

        return answer

    def _stream(self, method: _Method, handler: Handler[D]) -> Any:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            call = self._begin(method, request, context)
            started = time.perf_counter()
            try:
                async with aclosing(handler(self._daemon, request, call)) as responses:
                    async for response in responses:
                        yield response
            except BaseException as error:
                status = self._end(method, call, request, started, error)
                if _is_over(error):
                    raise
                await context.abort(status.code, status.text)
            self._end(method, call, request, started, None)

        return answer

    def _begin(self, method: _Method, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Call:
        metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        span = self._tracing.call(method.span_name, metadata)
        remaining = context.time_remaining()
        call = Call(
            request_id=self._request_ids(),
            method=method.name,
            deadline=None if remaining is None else time.monotonic() + remaining,
            metadata=metadata,
            span=span,
            is_cancelled=context.cancelled,
        )
        carried = {"request": call.request_id, "call": method.name}
        if span is not NO_SPAN:
            carried["trace"] = span.trace_id
            current_span.set(span)
            span.set("rpc.system", "grpc")
            span.set("rpc.method", method.name)
            span.set("coracle.request", call.request_id)
            for name, text in method.identity(request).items():
                span.set(f"coracle.{name}", text)
        # Each call runs in a task of its own, so these end with it.
        call_fields.set(carried)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("call begins", extra=fields(asked=loggable(request), deadline_s=remaining))
        return call

    def _end(self, method: _Method, call: Call, request: Any, started: float, error: BaseException | None) -> Status:
        seconds = time.perf_counter() - started
        status = _OK if error is None else _status(error, call)
        failed = status.code not in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED)
        if method.streams:
            method.operation.counted(failed=failed)
        else:
            method.operation.ended(seconds, failed=failed)
        self._log_end(method, request, seconds, status, error)
        if call.span is not NO_SPAN:
            call.span.set("rpc.grpc.status_code", status.code.value[0])
            if failed:
                call.span.fail(status.text)
            call.span.end()
        return status

    def _log_end(
        self, method: _Method, request: Any, seconds: float, status: Status, error: BaseException | None
    ) -> None:
        level = logging.DEBUG if method.frequent else logging.INFO
        if status.unexpected:
            level = logging.ERROR
        elif status is not _OK:
            level = logging.INFO if status.code in _UNREMARKABLE else logging.WARNING
        if not _log.isEnabledFor(level):
            return
        facts: dict[str, object] = {**method.identity(request), "ms": round(seconds * 1000, 2)}
        if status is not _OK:
            facts |= {"code": status.code.name, "error": status.text}
        message = "call answered" if status is _OK else "call failed"
        _log.log(level, message, extra=fields(**facts), exc_info=error if status.unexpected else None)


_OK: Final = Status(code=grpc.StatusCode.OK, text="")


def _is_over(error: BaseException) -> bool:
    """Nobody waits for an answer: the task of the call itself is cancelled, or the process ends."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return not isinstance(error, Exception)


def _status(error: BaseException, call: Call) -> Status:
    if isinstance(error, asyncio.CancelledError) and not _is_over(error):
        # Something that the handler waited for was cancelled. gRPC would leave the caller without any answer.
        return status_of(Unavailable("the work for this call was cancelled"))
    status = status_of(error)
    if not status.unexpected:
        return status
    text = f"{status.text}; the daemon's log says more under request {call.request_id}"
    return Status(code=status.code, text=text, unexpected=True)


def _parser(descriptor: Descriptor) -> Callable[[bytes], Any]:
    return cast(Callable[[bytes], Any], GetMessageClass(descriptor).FromString)


def _serialize(response: Any) -> bytes:
    return response if type(response) is bytes else cast(bytes, response.SerializeToString())


def _missing_unary(name: str) -> Callable[[object, object, Call], Awaitable[Any]]:
    async def refuse(daemon: object, request: object, call: Call) -> Any:
        raise Unimplemented(name)

    return refuse


def _missing_stream(name: str) -> Callable[[object, object, Call], AsyncIterator[Any]]:
    async def refuse(daemon: object, request: object, call: Call) -> AsyncIterator[Any]:
        raise Unimplemented(name)
        yield  # makes this a generator

    return refuse
