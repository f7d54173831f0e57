"""Sends spans to an OTLP collector. The only module that imports OpenTelemetry; loaded only when tracing is on.

Spans are queued and sent in batches from a thread of the SDK. The queue is bounded and an export has little time, so a
collector that is dead or slow costs spans, never a call. Whether a call is traced is the caller's decision where it
sent one, else chance at the configured rate.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cri.tracing import NO_SPAN, Span, Value

QUEUE: Final = 2048
BATCH: Final = 512
EXPORT_PATIENCE_S: Final = 2.0
CLOSE_PATIENCE_S: Final = 2.0


class CollectorSpan:
    __slots__ = ("_span", "_tracer")

    def __init__(self, span: trace.Span, tracer: trace.Tracer) -> None:
        self._span = span
        self._tracer = tracer

    @property
    def trace_id(self) -> str:
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    def fail(self, text: str) -> None:
        self._span.set_status(trace.StatusCode.ERROR, text)

    def child(self, name: str) -> Span:
        context = trace.set_span_in_context(self._span)
        return CollectorSpan(self._tracer.start_span(name, context), self._tracer)

    def end(self) -> None:
        self._span.end()


class CollectorTracing:
    def __init__(
        self, endpoint: str, sampling_rate_per_million: int, version: str, exporter: SpanExporter | None = None
    ) -> None:
        """`exporter` takes the place of the one that talks to `endpoint`."""
        exporter = exporter or OTLPSpanExporter(endpoint=endpoint, insecure=True, timeout=EXPORT_PATIENCE_S)
        resource = Resource.create(
            {
                "service.name": "coracle",
                "service.version": version,
                "host.name": socket.gethostname(),
                "process.pid": os.getpid(),
            }
        )
        self._provider = TracerProvider(
            resource=resource,
            sampler=ParentBased(TraceIdRatioBased(sampling_rate_per_million / 1_000_000)),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE,
                max_export_batch_size=BATCH,
                export_timeout_millis=EXPORT_PATIENCE_S * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("coracle", version)
        self._propagator = TraceContextTextMapPropagator()
        # One line per batch that could not be sent would drown the log for as long as the collector is away.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def call(self, name: str, metadata: Mapping[str, str]) -> Span:
        context = self._propagator.extract(dict(metadata))
        span = self._tracer.start_span(name, context, kind=trace.SpanKind.SERVER)
        if not span.is_recording():
            span.end()
            return NO_SPAN
        return CollectorSpan(span, self._tracer)

    def close(self) -> None:
        """The SDK's own shutdown tries a dead collector for longer than the end of a daemon should take."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_PATIENCE_S)
