"""Figures of running containers, and the daemon's own metrics."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

from cri.api import runtime_pb2 as pb
from e2e.daemon import Daemon
from e2e.pods import until
from e2e.processes import free_port
from tests.system.pods import Pods


def test_a_containers_figures(pods: Pods) -> None:
    container = pods.start(pods.run())
    pods.client.exec(container.id, "sh", "-c", "head -c 2000000 /dev/urandom > /file")
    stats = pods.client.runtime.ContainerStats(pb.ContainerStatsRequest(container_id=container.id)).stats
    assert stats.attributes.id == container.id
    assert stats.attributes.metadata.name == "main"
    assert stats.cpu.timestamp > 0
    assert stats.cpu.usage_core_nano_seconds.value > 0
    assert stats.memory.timestamp > 0
    assert 0 < stats.memory.working_set_bytes.value < 64 << 20
    until(lambda: written(pods, container.id) >= 2_000_000)


def written(pods: Pods, container: str) -> int:
    request = pb.ContainerStatsRequest(container_id=container)
    return pods.client.runtime.ContainerStats(request).stats.writable_layer.used_bytes.value


def test_lists_of_figures_filter(pods: Pods) -> None:
    one, two = pods.run(), pods.run()
    first, second = pods.start(one), pods.start(two)

    def listed(**wanted: str) -> set[str]:
        request = pb.ListContainerStatsRequest(filter=pb.ContainerStatsFilter(**wanted))  # type: ignore[arg-type]
        return {entry.attributes.id for entry in pods.client.runtime.ListContainerStats(request).stats}

    assert listed() == {first.id, second.id}
    assert listed(id=first.id) == {first.id}
    assert listed(pod_sandbox_id=two.id) == {second.id}


def test_metrics_count_calls_and_failures(make_daemon: Callable[..., Daemon]) -> None:
    port = free_port()
    daemon = make_daemon(flags=(f"--metrics-address=127.0.0.1:{port}",))
    daemon.client.runtime.Version(pb.VersionRequest())
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert "container_runtime_coracle_operations_total" in text
    assert "Version" in text


def test_a_pods_network_figures_are_those_of_its_own_namespace(pods: Pods) -> None:
    pod = pods.run()
    container = pods.start(pod)

    def inside() -> int:
        return int(pods.client.exec(container.id, "cat", "/sys/class/net/eth0/statistics/tx_bytes").stdout)

    pods.client.exec(container.id, "ping", "-c", "1", "-W", "1", "198.51.100.1")
    before = inside()
    network = pods.client.runtime.PodSandboxStats(pb.PodSandboxStatsRequest(pod_sandbox_id=pod.id)).stats.linux.network
    assert before <= network.default_interface.tx_bytes.value <= inside()
    assert list(network.interfaces) == []
    (metrics,) = pods.client.runtime.ListPodSandboxMetrics(pb.ListPodSandboxMetricsRequest()).pod_metrics
    assert {metric.label_values[-1] for metric in metrics.metrics} == {"eth0"}
    pods.client.stop_pod(pod.id)
    assert list(pods.client.runtime.ListPodSandboxStats(pb.ListPodSandboxStatsRequest()).stats) == []
