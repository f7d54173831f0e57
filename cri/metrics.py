"""What Coracle counts and times, for Prometheus. The only module that imports prometheus_client.

Names and labels are CRI-O's with `coracle` in its place, so that its dashboards work after one substitution; beside
them stands `operations_duration_seconds`, a histogram, for percentiles. Labels are bounded: no image names, no digests.

Owns the registry and the names; `cri.metrics_server` serves them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    disable_created_metrics,
    generate_latest,
)

from cri.version import VERSION

PREFIX: Final = "container_runtime_coracle"

_DURATIONS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_LAYER_SIZES: Final = (1e3, 1e6, 1e7, 5e7, 1e8, 2e8, 3e8, 4e8, 5e8, 1e9, 1e10)


class Operation:
    """The series of one operation, looked up once."""

    __slots__ = ("_duration", "_errors", "_latency", "_latency_total", "_total")

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._total = metrics.operations_total.labels(name)
        self._errors = metrics.operations_errors_total.labels(name)
        self._latency = metrics.operations_latency_seconds.labels(name)
        self._latency_total = metrics.operations_latency_seconds_total.labels(name)
        self._duration = metrics.operations_duration_seconds.labels(name)

    def ended(self, seconds: float, *, failed: bool) -> None:
        self.counted(failed=failed)
        self._latency.set(seconds)
        self._latency_total.observe(seconds)
        self._duration.observe(seconds)

    def counted(self, *, failed: bool) -> None:
        """For an operation whose duration says nothing: a stream that lasts as long as its reader."""
        self._total.inc()
        if failed:
            self._errors.inc()


class Metrics:
    """One daemon's figures, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry: Final = CollectorRegistry()
        self.operations_total = self._counter("operations", "Calls answered, by operation.", "operation")
        self.operations_errors_total = self._counter(
            "operations_errors", "Calls that failed, by operation.", "operation"
        )
        self.operations_latency_seconds = self._gauge(
            "operations_latency_seconds", "Seconds that the latest call took, by operation.", "operation"
        )
        self.operations_latency_seconds_total = Summary(
            f"{PREFIX}_operations_latency_seconds_total",
            "Seconds that calls and the steps in them took, by operation.",
            ["operation"],
            registry=self.registry,
        )
        self.operations_duration_seconds = Histogram(
            f"{PREFIX}_operations_duration_seconds",
            "Seconds that calls took, by operation.",
            ["operation"],
            buckets=_DURATIONS,
            registry=self.registry,
        )
        self.image_pulls_bytes_total = self._counter(
            "image_pulls_bytes",
            "Bytes fetched for layers, by media type and by size of the layer.",
            "mediatype",
            "size",
        )
        self.image_pulls_skipped_bytes_total = self._counter(
            "image_pulls_skipped_bytes", "Bytes of layers that were here already, by size of the layer.", "size"
        )
        self.image_pulls_success_total = self._counter("image_pulls_success", "Images pulled.")
        self.image_pulls_failure_total = self._counter("image_pulls_failure", "Pulls that failed, by kind.", "error")
        self.image_pulls_layer_size = Histogram(
            f"{PREFIX}_image_pulls_layer_size",
            "Bytes per layer fetched.",
            buckets=_LAYER_SIZES,
            registry=self.registry,
        )
        self.image_layer_reuse_total = self._counter("image_layer_reuse", "Layers found here already.", "name")
        self.containers_oom_total = self._counter("containers_oom", "Containers killed for want of memory.")
        self.containers_oom_count_total = self._counter(
            "containers_oom_count", "Containers killed for want of memory, by name.", "name"
        )
        self.containers_log_dropped_bytes_total = self._counter(
            "containers_log_dropped_bytes", "Bytes of containers' logs dropped by their limits."
        )
        self.containers_stopped_monitor_count = self._gauge(
            "containers_stopped_monitor_count", "Shims that died before their containers, by pod.", "name"
        )
        self.resources_stalled_at_stage = self._gauge(
            "resources_stalled_at_stage", "Creates whose caller lost patience, by what they waited for.", "stage"
        )
        self.processes_defunct = self._gauge("processes_defunct", "Zombie processes on this host.")
        self.default_runtime = self._gauge("default_runtime", "1 for the default runtime handler.", "runtime")
        self.default_runtime.labels("coracle").set(1)
        build = self._gauge("build_info", "1, with what is running.", "version", "python")
        build.labels(VERSION, platform.python_version()).set(1)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", help, labels, registry=self.registry)

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", help, labels, registry=self.registry)

    def operation(self, name: str) -> Operation:
        """The series of the call `name`, which is the bare name of the RPC."""
        return Operation(self, name)

    def step(self, name: str, seconds: float) -> None:
        """A part of a call, like `network_setup_pod`."""
        self.operations_latency_seconds_total.labels(name).observe(seconds)

    def layer_fetched(self, media_type: str, size: int) -> None:
        self.image_pulls_bytes_total.labels(media_type, _size_class(size)).inc(size)
        self.image_pulls_layer_size.observe(size)

    def layer_reused(self, size: int) -> None:
        self.image_pulls_skipped_bytes_total.labels(_size_class(size)).inc(size)
        self.image_layer_reuse_total.labels("layer").inc()

    def pulled(self) -> None:
        self.image_pulls_success_total.inc()

    def pull_failed(self, kind: str) -> None:
        """`kind` is the class of the error, of which there are few."""
        self.image_pulls_failure_total.labels(kind).inc()

    def container_oom(self, name: str) -> None:
        self.containers_oom_total.inc()
        self.containers_oom_count_total.labels(name).inc()

    def monitor_stopped(self, pod: str) -> None:
        """The pod's shim died before its containers."""
        self.containers_stopped_monitor_count.labels(pod).inc()

    def log_dropped(self, size: int) -> None:
        self.containers_log_dropped_bytes_total.inc(size)

    def stalled(self, stage: str) -> None:
        """A caller's patience ended while its create was at `stage`, of which there are few."""
        self.resources_stalled_at_stage.labels(stage).inc()

    def forget_container(self, name: str) -> None:
        """The container is gone: so is its series, or they would grow without end."""
        try:
            self.containers_oom_count_total.remove(name)
        except KeyError:
            pass  # it never ran out of memory

    def count_zombies_with(self, count: Callable[[], int]) -> None:
        """`count` is called for each scrape."""
        self.processes_defunct.set_function(count)

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


def _size_class(size: int) -> str:
    """The least bucket that holds `size`, as text."""
    return next((f"{int(limit)}" for limit in _LAYER_SIZES if size <= limit), "inf")
