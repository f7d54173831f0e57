"""Spans of calls and of the steps in them, in OpenTelemetry's sense, and the form they have when tracing is off.

Owns the seam: `Tracing` makes the span of a call, `step` one below the span that is current. The current span is a
context variable, so it follows the work into tasks. Nothing of OpenTelemetry is imported unless an endpoint is
configured (`cri.otlp`); without one a step costs less than a microsecond.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from cri.config.schema import TracingSettings

Value = str | int | float | bool


class Span(Protocol):
    """One span under way."""

    @property
    def trace_id(self) -> str:
        """32 hex digits for the log, "" when nothing is recorded."""

    def set(self, name: str, value: Value) -> None: ...

    def fail(self, text: str) -> None:
        """Marks the span as failed."""

    def child(self, name: str) -> Span: ...

    def end(self) -> None: ...


class Tracing(Protocol):
    def call(self, name: str, metadata: Mapping[str, str]) -> Span:
        """The span of a call that came with `metadata`, in which the caller's `traceparent` may stand."""

    def close(self) -> None:
        """Sends what is left, for a bounded time."""


class _NoSpan:
    __slots__ = ()
    trace_id = ""

    def set(self, name: str, value: Value) -> None: ...

    def fail(self, text: str) -> None: ...

    def child(self, name: str) -> Span:
        return self

    def end(self) -> None: ...


NO_SPAN: Span = _NoSpan()


class NoTracing:
    def call(self, name: str, metadata: Mapping[str, str]) -> Span:
        return NO_SPAN

    def close(self) -> None: ...


current_span: contextvars.ContextVar[Span] = contextvars.ContextVar("current_span", default=NO_SPAN)


def step(name: str, **attributes: Value) -> AbstractContextManager[Span]:
    """A span below the current one, for the length of a `with`: `with step("cni.add", sandbox=id):`.

    An exception that leaves it marks it as failed.
    """
    return _step(name, attributes)


@contextmanager
def _step(name: str, attributes: Mapping[str, Value]) -> Iterator[Span]:
    parent = current_span.get()
    if parent is NO_SPAN:
        yield parent
        return
    span = parent.child(name)
    for attribute, value in attributes.items():
        span.set(attribute, value)
    token = current_span.set(span)
    try:
        yield span
    except BaseException as error:
        span.fail(f"{type(error).__name__}: {error}")
        raise
    finally:
        current_span.reset(token)
        span.end()


def open_tracing(settings: TracingSettings, version: str) -> Tracing:
    if not settings.endpoint:
        return NoTracing()
    from cri.otlp import CollectorTracing

    return CollectorTracing(settings.endpoint, settings.sampling_rate_per_million, version)
