"""Filters of the lists: by id or its beginning, by state, by labels; all that are given must fit."""

from __future__ import annotations

from typing import Any

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import CREATED, EXITED, NOT_READY, READY, RUNNING, UNKNOWN_ID, Pods


def test_sandboxes(pods: Pods, client: Client) -> None:
    """kubelet: by the label of the pod's uid, and by state."""
    ready, stopped = pods.run(pods.config(labels={"app": "a", "t": "1"})), pods.run(pods.config(labels={"app": "b"}))
    client.stop_pod(stopped.id)

    def listed(**wanted: Any) -> set[str]:
        request = pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(**wanted))
        return {pod.id for pod in client.runtime.ListPodSandbox(request, timeout=10).items}

    def state(value: Any) -> pb.PodSandboxStateValue:
        return pb.PodSandboxStateValue(state=value)

    assert {ready.id, stopped.id} <= listed()
    assert listed(id=ready.id) == listed(id=ready.id[:13]) == {ready.id}
    assert listed(id=UNKNOWN_ID) == set()
    assert listed(label_selector={"app": "b"}) == {stopped.id}
    assert listed(label_selector={"app": "a", "t": "1"}) == {ready.id}
    assert listed(label_selector={"app": "b", "t": "1"}) == set()
    assert listed(id=ready.id, state=state(READY)) == {ready.id}
    assert listed(id=ready.id, state=state(NOT_READY)) == set()
    assert stopped.id in listed(state=state(NOT_READY))
    assert stopped.id not in listed(state=state(READY))


def test_containers(pods: Pods, client: Client) -> None:
    """kubelet: by sandbox, by state and by labels."""
    pod, other = pods.run(), pods.run()
    config = pods.container_config("sleep", "600", name="runs")
    config.labels["app"] = "a"
    running = pods.create_from(pod, config)
    client.start(running.id)
    created = pods.create(pod, "true", name="waits")
    ended, _ = pods.run_to_end("true", pod=other)

    def listed(**wanted: Any) -> set[str]:
        request = pb.ListContainersRequest(filter=pb.ContainerFilter(**wanted))
        return {one.id for one in client.runtime.ListContainers(request, timeout=10).containers}

    def state(value: Any) -> pb.ContainerStateValue:
        return pb.ContainerStateValue(state=value)

    assert {running.id, created.id, ended.id} <= listed()
    assert listed(id=running.id) == listed(id=running.id[:13]) == {running.id}
    assert listed(id=UNKNOWN_ID) == set()
    assert listed(pod_sandbox_id=pod.id) == {running.id, created.id}
    assert listed(pod_sandbox_id=pod.id[:13]) == {running.id, created.id}
    assert listed(pod_sandbox_id=UNKNOWN_ID) == set()
    assert listed(pod_sandbox_id=pod.id, state=state(RUNNING)) == {running.id}
    assert listed(pod_sandbox_id=pod.id, state=state(CREATED)) == {created.id}
    assert listed(pod_sandbox_id=other.id, state=state(EXITED)) == {ended.id}
    assert listed(id=running.id, pod_sandbox_id=other.id) == set()
    assert listed(pod_sandbox_id=pod.id, label_selector={"app": "a"}) == {running.id}
    assert listed(pod_sandbox_id=pod.id, label_selector={"app": "b"}) == set()


def test_an_empty_filter_is_none(pods: Pods, client: Client) -> None:
    """kubelet's relist sends an empty filter message."""
    pod = pods.run()
    container = pods.create(pod, "true")
    sandboxes = client.runtime.ListPodSandbox(pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter()), timeout=10)
    containers = client.runtime.ListContainers(pb.ListContainersRequest(filter=pb.ContainerFilter()), timeout=10)
    assert pod.id in {one.id for one in sandboxes.items}
    assert container.id in {one.id for one in containers.containers}
