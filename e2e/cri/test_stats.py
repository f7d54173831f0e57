"""Figures of containers and pods: evictions, autoscalers and `kubectl top` live on them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import UNKNOWN_ID, Pods
from e2e.pods import refused, until


def test_a_running_containers_figures(pods: Pods, client: Client) -> None:
    """kubelet: attributes and their metadata must be set (it would crash), cpu and memory with their times."""
    config = pods.container_config("sh", "-c", "echo ready; while :; do :; done")
    config.labels["app"] = "x"
    config.annotations["note"] = "y"
    container = pods.create_from(pods.run(), config)
    client.start(container.id)
    until(lambda: pods.stats(container.id).cpu.usage_core_nano_seconds.value > 0)
    stats = pods.stats(container.id)
    assert stats.attributes.id == container.id
    assert stats.attributes.metadata == config.metadata
    assert dict(stats.attributes.labels) == {"app": "x"}
    assert dict(stats.attributes.annotations) == {"note": "y"}
    assert stats.cpu.timestamp > 0
    assert stats.memory.timestamp > 0
    assert 0 < stats.memory.working_set_bytes.value < 1 << 30


def test_two_samples_differ(pods: Pods) -> None:
    """crictl: two samples a second apart must have two times; kubelet: it derives the rate from them."""
    container = pods.start(pods.run(), "sh", "-c", "while :; do :; done")
    first = pods.stats(container.id).cpu
    time.sleep(1)
    second = pods.stats(container.id).cpu
    assert second.timestamp > first.timestamp
    assert second.usage_core_nano_seconds.value > first.usage_core_nano_seconds.value


def test_memory_figures_that_evictions_use(pods: Pods) -> None:
    """kubelet: working set, usage, rss and page faults; available only means something with a limit."""
    limits = pb.LinuxContainerResources(memory_limit_in_bytes=64 << 20)
    memory = pods.stats(pods.start(pods.run(), resources=limits).id).memory
    for field in ("working_set_bytes", "usage_bytes", "rss_bytes", "page_faults", "major_page_faults"):
        assert memory.HasField(field)
    assert 0 < memory.available_bytes.value <= 64 << 20


def test_the_writable_layer_grows_with_what_is_written(pods: Pods, client: Client) -> None:
    """kubelet: ephemeral storage limits; the mount point must exist, else the whole summary fails."""
    container = pods.start(pods.run())
    client.exec(container.id, "sh", "-c", "head -c 2000000 /dev/urandom > /file")
    layer = pods.stats(container.id).writable_layer
    assert Path(layer.fs_id.mountpoint).exists()
    assert layer.HasField("used_bytes")
    assert layer.HasField("inodes_used")
    until(lambda: pods.stats(container.id).writable_layer.used_bytes.value >= 2_000_000, seconds=60)


def test_lists_hold_the_running_containers(pods: Pods, client: Client) -> None:
    one, two = pods.run(), pods.run()
    config = pods.container_config("sh", "-c", "sleep 600")
    config.labels["tier"] = "front"
    first = pods.create_from(one, config)
    client.start(first.id)
    second = pods.start(two)

    def listed(**wanted: Any) -> set[str]:
        request = pb.ListContainerStatsRequest(filter=pb.ContainerStatsFilter(**wanted))
        return {stats.attributes.id for stats in client.runtime.ListContainerStats(request, timeout=30).stats}

    assert {first.id, second.id} <= listed()
    assert listed(id=first.id) == {first.id}
    assert listed(pod_sandbox_id=two.id) == {second.id}
    assert listed(label_selector={"tier": "front"}) == {first.id}
    assert listed(id=first.id, pod_sandbox_id=two.id) == set()


def test_the_list_survives_containers_in_every_state(pods: Pods, client: Client) -> None:
    """kubelet: one container that cannot be measured must not take the node's summary down."""
    pod = pods.run()
    pods.create(pod, "true", name="created")
    pods.run_to_end("true", pod=pod, name="ended")
    running = pods.start(pod, name="runs")
    request = pb.ListContainerStatsRequest(filter=pb.ContainerStatsFilter(pod_sandbox_id=pod.id))
    stats = {entry.attributes.id: entry for entry in client.runtime.ListContainerStats(request, timeout=30).stats}
    assert stats[running.id].memory.working_set_bytes.value > 0
    assert all(entry.attributes.metadata.name for entry in stats.values())


def test_an_unknown_container_is_not_found(client: Client) -> None:
    request = pb.ContainerStatsRequest(container_id=UNKNOWN_ID)
    refused(lambda: client.runtime.ContainerStats(request, timeout=10), grpc.StatusCode.NOT_FOUND)


def test_a_pods_figures(pods: Pods, client: Client) -> None:
    """kubelet (PodAndContainerStatsFromCRI): cpu, memory, network and process figures, and each container's."""
    pod = pods.run()
    container = pods.start(pod)
    request = pb.PodSandboxStatsRequest(pod_sandbox_id=pod.id)
    stats = client.runtime.PodSandboxStats(request, timeout=10).stats
    assert stats.attributes.id == pod.id
    assert stats.attributes.metadata == pod.config.metadata
    assert stats.linux.cpu.timestamp > 0
    assert stats.linux.memory.working_set_bytes.value > 0
    assert stats.linux.network.default_interface.name == "eth0"
    assert list(stats.linux.network.interfaces) == []  # of the pod's network, not of the node's
    assert stats.linux.process.process_count.value >= 1
    assert [one.attributes.id for one in stats.linux.containers] == [container.id]


def test_the_list_of_pods_figures_filters(pods: Pods, client: Client) -> None:
    one, two = pods.run(pods.config(labels={"app": "one"})), pods.run()

    def listed(**wanted: Any) -> set[str]:
        request = pb.ListPodSandboxStatsRequest(filter=pb.PodSandboxStatsFilter(**wanted))
        return {stats.attributes.id for stats in client.runtime.ListPodSandboxStats(request, timeout=30).stats}

    assert {one.id, two.id} <= listed()
    assert listed(id=two.id) == {two.id}
    assert listed(label_selector={"app": "one"}) == {one.id}


def test_an_unknown_pod_has_no_figures(client: Client) -> None:
    request = pb.PodSandboxStatsRequest(pod_sandbox_id=UNKNOWN_ID)
    refused(lambda: client.runtime.PodSandboxStats(request, timeout=10), grpc.StatusCode.NOT_FOUND)


def test_metrics_fit_their_descriptors(pods: Pods, client: Client) -> None:
    """kubelet: a value for each label key, else the metric is dropped; a metric without a value is a crash."""
    pod = pods.run()
    pods.start(pod)
    answer = client.runtime.ListMetricDescriptors(pb.ListMetricDescriptorsRequest(), timeout=10)
    keys = {descriptor.name: len(descriptor.label_keys) for descriptor in answer.descriptors}
    listed = client.runtime.ListPodSandboxMetrics(pb.ListPodSandboxMetricsRequest(), timeout=10).pod_metrics
    [mine] = [metrics for metrics in listed if metrics.pod_sandbox_id == pod.id]
    metrics = [*mine.metrics, *(metric for one in mine.container_metrics for metric in one.metrics)]
    assert metrics
    for metric in metrics:
        assert metric.HasField("value"), metric.name
        assert len(metric.label_values) == keys[metric.name], metric.name


def test_the_image_file_system(client: Client) -> None:
    """kubelet: used_bytes absent is a crash; the mount point must exist."""
    [usage] = client.images.ImageFsInfo(pb.ImageFsInfoRequest(), timeout=10).image_filesystems[:1]
    assert usage.HasField("used_bytes")
    assert usage.timestamp > 0
    assert Path(usage.fs_id.mountpoint).exists()
