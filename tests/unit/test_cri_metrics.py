"""Metrics: the names and labels that dashboards know, and the little server."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator

import pytest

from cri.metrics import PREFIX, Metrics
from cri.metrics_server import MetricsServer

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
    def value(figure: str, /, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"{PREFIX}_{figure}", labels)

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
