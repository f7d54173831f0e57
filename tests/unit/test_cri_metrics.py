"""Metrics: the names and labels that dashboards know, and the little server."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cri.exposition import Registry
from cri.metrics import PREFIX, Metrics
from cri.metrics_server import MetricsServer, answer
from tests.metric_values import metric

#: CRI-O's, with their labels, less those of features that Coracle does not have.
KNOWN = {
    "operations_total": {"operation"},
    "operations_errors_total": {"operation"},
    "operations_latency_seconds": {"operation"},
    "operations_latency_seconds_total_count": {"operation"},
    "operations_latency_seconds_total_sum": {"operation"},
    "image_pulls_bytes_total": {"mediatype", "size"},
    "image_pulls_skipped_bytes_total": {"size"},
    "image_pulls_success_total": set(),
    "image_pulls_failure_total": {"error"},
    "image_pulls_layer_size_bucket": {"le"},
    "image_layer_reuse_total": {"name"},
    "containers_oom_total": set(),
    "containers_oom_count_total": {"name"},
    "containers_log_dropped_bytes_total": set(),
    "containers_stopped_monitor_count": {"name"},
    "resources_stalled_at_stage": {"stage"},
    "processes_defunct": set(),
    "default_runtime": {"runtime"},
    "operations_duration_seconds_bucket": {"operation", "le"},
    "build_info": {"version", "python"},
}


@pytest.fixture(name="metrics")
def _metrics() -> Metrics:
    metrics = Metrics()
    metrics.operation("RunPodSandbox").ended(0.02, failed=True)
    metrics.step("network_setup_pod", 0.01)
    metrics.layer_fetched("application/vnd.oci.image.layer.v1.tar+gzip", 2_000_000)
    metrics.layer_reused(500)
    metrics.pulled()
    metrics.pull_failed("RegistryUnavailable")
    metrics.container_oom("web")
    metrics.monitor_stopped("pod")
    metrics.stalled("network")
    metrics.count_zombies_with(lambda: 3)
    return metrics


def exposed(metrics: Metrics) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for line in metrics.exposition().decode().splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(rf"{PREFIX}_(\w+)(?:{{(.*)}})? \S+", line)
        assert match, line
        names[match[1]] = set(re.findall(r'(\w+)="', match[2] or ""))
    return names


def test_names_and_labels_are_the_known_ones(metrics: Metrics) -> None:
    names = exposed(metrics)
    assert {name: names.get(name) for name in KNOWN} == KNOWN
    others = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names.keys() - KNOWN.keys()}
    assert others <= {"image_pulls_layer_size", "operations_duration_seconds"}


def test_values_are_what_happened(metrics: Metrics) -> None:
    value = partial(metric, metrics)
    assert value("operations_errors_total", operation="RunPodSandbox") == 1
    assert value("operations_latency_seconds", operation="RunPodSandbox") == 0.02
    assert value("operations_latency_seconds_total_count", operation="network_setup_pod") == 1
    assert value("image_pulls_skipped_bytes_total", size="1000") == 500
    assert value("containers_oom_count_total", name="web") == 1
    assert value("processes_defunct") == 3
    metrics.forget_container("web")
    metrics.forget_container("never seen")
    assert value("containers_oom_count_total", name="web") is None
    assert value("containers_oom_total") == 1


@pytest.fixture(name="connection")
def _connection(metrics: Metrics) -> Iterator[http.client.HTTPConnection]:
    server = MetricsServer("127.0.0.1", 0, metrics.exposition)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    yield connection
    connection.close()
    server.close()


def test_metrics_are_served(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"container_runtime_coracle_default_runtime" in answer.read()


def test_nothing_else_is_served(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/")
    assert connection.getresponse().status == 404


def test_a_request_that_is_none_is_told_so() -> None:
    assert answer(b"", bytes).startswith(b"HTTP/1.1 400 ")
    assert answer(b"\x16\x03\x01 /metrics", bytes).startswith(b"HTTP/1.1 400 ")
    assert answer(b"POST /metrics HTTP/1.1\r\n\r\n", bytes).startswith(b"HTTP/1.1 405 ")
    assert answer(b"HEAD /metrics?x=1 HTTP/1.1\r\n\r\n", lambda: b"figures").endswith(b"\r\n\r\n")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r")))
def test_any_text_survives_as_a_label(text: str) -> None:
    registry = Registry()
    registry.gauge("figure", 'its "help"\nin two lines', "label").labels(text).set(2)
    (family,) = text_string_to_metric_families(registry.text().decode())
    assert family.documentation == 'its "help"\nin two lines'
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"label": text}, 2)


def test_a_histogram_counts_what_is_at_most_its_limit() -> None:
    registry = Registry()
    series = registry.histogram("h", "", (1, 2.5)).labels()
    for value in (0.5, 1, 2, 7):
        series.observe(value)
    assert registry.text().decode().splitlines()[2:] == [
        'h_bucket{le="1.0"} 2.0', 'h_bucket{le="2.5"} 3.0', 'h_bucket{le="+Inf"} 4.0', "h_count 4.0", "h_sum 10.5",
    ]  # fmt: skip


def test_a_series_needs_a_value_for_each_label() -> None:
    with pytest.raises(ValueError, match="has the labels a, b"):
        Registry().counter("c", "", "a", "b").labels("1")
