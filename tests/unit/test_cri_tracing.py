"""Spans: off costs nothing, on follows the caller's trace, and a collector that is not there holds up nobody."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cri.config.schema import TracingSettings
from cri.otlp import CollectorTracing
from cri.tracing import NO_SPAN, NoTracing, current_span, open_tracing, step

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"}


@pytest.fixture(name="exporter")
def _exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(name="tracing")
def _tracing(exporter: InMemorySpanExporter) -> Iterator[CollectorTracing]:
    tracing = CollectorTracing("nobody.invalid:4317", 0, "0", exporter)
    yield tracing
    tracing.close()


def test_off_by_default() -> None:
    tracing = open_tracing(TracingSettings(), "0")
    assert isinstance(tracing, NoTracing)
    assert tracing.call("c", PARENT) is NO_SPAN
    with step("s", key="value") as span:
        assert span is NO_SPAN
    tracing.close()


def test_nothing_of_opentelemetry_is_loaded_while_off() -> None:
    code = "import cri.server, sys; sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_call_joins_the_trace_of_its_caller(tracing: CollectorTracing, exporter: InMemorySpanExporter) -> None:
    span = tracing.call("runtime.v1.RuntimeService/Version", PARENT)
    assert span.trace_id == TRACE
    token = current_span.set(span)
    with step("cni.add", sandbox="s1"):
        pass
    with pytest.raises(ValueError, match="no"), step("oci.create"):
        raise ValueError("no")
    current_span.reset(token)
    span.end()
    tracing.close()
    first, second, call = exporter.get_finished_spans()
    assert call.parent is not None
    assert call.parent.span_id == 0xB7AD6B7169203331
    assert call.context is not None
    assert first.parent is not None
    assert (first.name, first.parent.span_id) == ("cni.add", call.context.span_id)
    assert dict(first.attributes or {}) == {"sandbox": "s1"}
    assert (second.name, second.status.description) == ("oci.create", "ValueError: no")
    assert call.resource.attributes["service.name"] == "coracle"


@pytest.mark.parametrize("metadata", [UNSAMPLED, {}, {"traceparent": "nonsense"}])
def test_calls_that_nobody_samples_leave_nothing(
    tracing: CollectorTracing, exporter: InMemorySpanExporter, metadata: dict[str, str]
) -> None:
    assert tracing.call("c", metadata) is NO_SPAN
    tracing.close()
    assert exporter.get_finished_spans() == ()


def test_the_rate_samples_calls_without_a_trace(exporter: InMemorySpanExporter) -> None:
    tracing = CollectorTracing("nobody.invalid:4317", 1_000_000, "0", exporter)
    tracing.call("c", {}).end()
    tracing.close()
    assert len(exporter.get_finished_spans()) == 1


def test_a_dead_collector_costs_spans_and_nothing_else() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        tracing = open_tracing(TracingSettings(endpoint=f"127.0.0.1:{closed.getsockname()[1]}"), "0")
        for _ in range(5000):  # more than the queue holds
            tracing.call("c", PARENT).end()
        tracing.close()
