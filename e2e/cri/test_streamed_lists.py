"""The Stream* calls (1.36): the lists of a large node in messages that a client can receive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import UNKNOWN_ID, Pods


def items(stream: Iterable[Any], field: str) -> list[Any]:
    """All items; proto: every message holds at least one."""
    found: list[Any] = []
    for message in stream:
        part = getattr(message, field)
        assert part, "a message without an item"
        found += part
    return found


def test_sandboxes(pods: Pods, client: Client) -> None:
    """proto: the items of the list, none twice; the end of the stream is the end of the list."""
    one, two = pods.run(pods.config(labels={"streamed": "yes"})), pods.run()
    streamed = items(client.runtime.StreamPodSandboxes(pb.StreamPodSandboxesRequest(), timeout=10), "pod_sandboxes")
    listed = list(client.pods())
    assert sorted(streamed, key=_id) == sorted(listed, key=_id)
    assert {one.id, two.id} <= {pod.id for pod in streamed}
    request = pb.StreamPodSandboxesRequest(filter=pb.PodSandboxFilter(label_selector={"streamed": "yes"}))
    assert [pod.id for pod in items(client.runtime.StreamPodSandboxes(request, timeout=10), "pod_sandboxes")] == [
        one.id
    ]


def test_containers(pods: Pods, client: Client) -> None:
    pod = pods.run()
    made = {pods.create(pod, "true", name=f"c{number}").id for number in range(3)}
    streamed = items(client.runtime.StreamContainers(pb.StreamContainersRequest(), timeout=10), "containers")
    assert sorted(streamed, key=_id) == sorted(client.containers(), key=_id)
    request = pb.StreamContainersRequest(filter=pb.ContainerFilter(pod_sandbox_id=pod.id))
    filtered = items(client.runtime.StreamContainers(request, timeout=10), "containers")
    assert {one.id for one in filtered} == made


def test_images(client: Client) -> None:
    streamed = items(client.images.StreamImages(pb.StreamImagesRequest(), timeout=10), "images")
    listed = list(client.images.ListImages(pb.ListImagesRequest(), timeout=10).images)
    assert sorted(streamed, key=_id) == sorted(listed, key=_id)


def test_figures(pods: Pods, client: Client) -> None:
    pod = pods.run()
    container = pods.start(pod)
    containers = items(
        client.runtime.StreamContainerStats(pb.StreamContainerStatsRequest(), timeout=10), "container_stats"
    )
    assert container.id in {stats.attributes.id for stats in containers}
    sandboxes = items(
        client.runtime.StreamPodSandboxStats(pb.StreamPodSandboxStatsRequest(), timeout=10), "pod_sandbox_stats"
    )
    assert pod.id in {stats.attributes.id for stats in sandboxes}
    metrics = items(
        client.runtime.StreamPodSandboxMetrics(pb.StreamPodSandboxMetricsRequest(), timeout=10), "pod_sandbox_metrics"
    )
    assert pod.id in {one.pod_sandbox_id for one in metrics}


def test_an_empty_list_is_a_stream_without_messages(client: Client) -> None:
    nothing = pb.StreamContainersRequest(filter=pb.ContainerFilter(id=UNKNOWN_ID))
    assert list(client.runtime.StreamContainers(nothing, timeout=10)) == []


def _id(item: Any) -> str:
    return str(item.id)
