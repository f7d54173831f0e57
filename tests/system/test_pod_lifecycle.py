"""A pod's and a container's life over the socket: states, lists, ids by prefix, repeated calls, removal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from cri.api import runtime_pb2 as pb
from e2e.client import container_config
from e2e.pods import refused
from tests.system.pods import Pods


def test_the_runtime_says_who_it_is_and_that_it_is_ready(pods: Pods) -> None:
    version = pods.client.runtime.Version(pb.VersionRequest(version="0.1.0"))
    assert (version.runtime_name, version.runtime_api_version) == ("coracle", "v1")
    status = pods.client.runtime.Status(pb.StatusRequest(verbose=True)).status
    assert {condition.type: condition.status for condition in status.conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }


def test_a_pod_from_start_to_removal(pods: Pods) -> None:
    client = pods.client
    pod = pods.run()
    status = client.pod_status(pod.id)
    assert status.state == pb.PodSandboxState.SANDBOX_READY
    assert status.metadata == pod.config.metadata
    assert status.network.ip

    container = pods.create(pod, "sh", "-c", "echo out; exit 3")
    assert client.status(container.id).state == pb.ContainerState.CONTAINER_CREATED
    client.start(container.id)
    ended = pods.wait_for_exit(container)
    assert (ended.exit_code, ended.reason) == (3, "Error")
    assert 0 < ended.created_at <= ended.started_at <= ended.finished_at
    assert container.text() == ["out"]

    client.remove(container.id)
    assert client.containers() == []
    client.stop_pod(pod.id)
    assert client.pod_status(pod.id).state == pb.PodSandboxState.SANDBOX_NOTREADY
    client.remove_pod(pod.id)
    assert client.pods() == []


def test_a_container_that_ends_well_is_completed(pods: Pods) -> None:
    container, ended = pods.run_to_end("true")
    assert ended.exit_code == 0
    assert pods.client.status(container.id).reason == "Completed"


def test_containers_of_a_pod_share_its_network_and_its_name(pods: Pods) -> None:
    pod = pods.run()
    server = pods.start(pod, "sh", "-c", "echo listening; nc -l -p 4000 -e echo served", name="server")
    pods.wait_for_line(server, "listening")
    client, ended = pods.run_to_end(
        "sh", "-c", "for i in 1 2 3 4 5; do nc 127.0.0.1 4000 && exit; sleep 0.1; done; exit 1", pod=pod, name="client"
    )
    assert ended.exit_code == 0
    assert "served" in client.text()
    assert pods.output("hostname", pod=pod, name="name") == [pod.config.hostname]


def test_processes_see_only_their_container_unless_the_pod_shares(pods: Pods) -> None:
    pod = pods.run()
    pods.start(pod, name="other")
    alone, _ = pods.run_to_end("ps", "-o", "pid,args", pod=pod, name="alone")
    assert len(alone.text()) == 2

    config = pods.config()
    config.linux.security_context.namespace_options.pid = pb.NamespaceMode.POD
    shared = pods.run(config)
    pods.start(shared, name="other", security=config_with_pid(pb.NamespaceMode.POD))
    both, _ = pods.run_to_end(
        "ps", "-o", "pid,args", pod=shared, name="both", security=config_with_pid(pb.NamespaceMode.POD)
    )
    assert any("trap" in line for line in both.text())


def config_with_pid(mode: pb.NamespaceMode.ValueType) -> pb.LinuxContainerSecurityContext:
    return pb.LinuxContainerSecurityContext(namespace_options=pb.NamespaceOption(pid=mode))


def test_stop_lets_the_container_end_by_itself(pods: Pods) -> None:
    pod = pods.run()
    container = pods.start(
        pod, "sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 9 & wait $!; done"
    )
    pods.wait_for_line(container, "ready")
    pods.client.stop(container.id, timeout=10)
    assert pods.client.status(container.id).exit_code == 7
    assert container.text() == ["ready", "bye"]


def test_stop_kills_what_does_not_listen(pods: Pods) -> None:
    pod = pods.run()
    container = pods.start(pod, "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 9; done")
    pods.wait_for_line(container, "deaf")
    pods.client.stop(container.id, timeout=1)
    assert pods.client.status(container.id).exit_code == 137


def test_stopping_a_pod_stops_its_containers(pods: Pods) -> None:
    pod = pods.run()
    container = pods.start(pod)
    pods.client.stop_pod(pod.id)
    assert pods.client.status(container.id).state == pb.ContainerState.CONTAINER_EXITED
    assert pods.client.pod_status(pod.id).network.ip == ""


def test_removing_a_pod_removes_everything_of_it(pods: Pods) -> None:
    pod = pods.run()
    pods.start(pod)
    pods.client.remove_pod(pod.id)
    assert pods.client.pods() == []
    assert pods.client.containers() == []


def test_stop_and_remove_may_be_repeated(pods: Pods) -> None:
    client, pod = pods.client, pods.run()
    container = pods.start(pod)
    for _ in range(2):
        client.stop(container.id)
    for _ in range(2):
        client.remove(container.id)
    for _ in range(2):
        client.stop_pod(pod.id)
    for _ in range(2):
        client.remove_pod(pod.id)
    unknown = "0" * 64
    client.stop(unknown)
    client.remove(unknown)
    client.stop_pod(unknown)
    client.remove_pod(unknown)


def test_calls_for_the_same_at_once_get_the_same(pods: Pods) -> None:
    """A kubelet whose call timed out asks again: by the pod's uid and attempt, the container's name and attempt."""
    config = pods.config()
    with ThreadPoolExecutor(4) as callers:
        sandboxes = {pod.id for pod in callers.map(pods.run, [config] * 4)}
    assert len(sandboxes) == len(pods.client.pods()) == 1
    pod = pods.run(pods.config())
    wanted = container_config("main", pods.images.busybox, "true")
    with ThreadPoolExecutor(4) as callers:
        containers = {one.id for one in callers.map(lambda _: pods.create_from(pod, wanted), range(4))}
    assert len(containers) == 1


def test_what_exists_is_not_made_twice(pods: Pods) -> None:
    pod = pods.run()
    refused(lambda: pods.client.run_pod(pod.config), grpc.StatusCode.ALREADY_EXISTS, pod.id)
    container = pods.create(pod, "true")
    refused(lambda: pods.create_from(pod, container.config), grpc.StatusCode.ALREADY_EXISTS, container.id)


def test_ids_resolve_by_unique_prefix(pods: Pods) -> None:
    pod = pods.run()
    container = pods.start(pod)
    assert pods.client.pod_status(pod.id[:12]).id == pod.id
    assert pods.client.status(container.id[:12]).id == container.id
    assert pods.client.exec(container.id[:12], "true").exit_code == 0
    pods.client.stop(container.id[:12])
    assert pods.client.status(container.id).state == pb.ContainerState.CONTAINER_EXITED


def test_lists_filter_by_id_state_and_label(pods: Pods) -> None:
    client = pods.client
    ready, stopped = pods.run(pods.config(labels={"app": "a"})), pods.run(pods.config(labels={"app": "b"}))
    client.stop_pod(stopped.id)

    def listed(**wanted: object) -> list[str]:
        request = pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(**wanted))  # type: ignore[arg-type]
        return sorted(pod.id for pod in client.runtime.ListPodSandbox(request).items)

    assert listed() == sorted([ready.id, stopped.id])
    assert listed(id=ready.id[:10]) == [ready.id]
    assert listed(label_selector={"app": "b"}) == [stopped.id]
    assert listed(label_selector={"app": "none"}) == []
    assert listed(state=pb.PodSandboxStateValue(state=pb.PodSandboxState.SANDBOX_READY)) == [ready.id]

    running = pods.start(ready, name="runs")
    created = pods.create(ready, "true", name="waits")
    request = pb.ListContainersRequest(
        filter=pb.ContainerFilter(state=pb.ContainerStateValue(state=pb.ContainerState.CONTAINER_RUNNING))
    )
    assert [one.id for one in client.runtime.ListContainers(request).containers] == [running.id]
    request = pb.ListContainersRequest(filter=pb.ContainerFilter(pod_sandbox_id=ready.id))
    assert {one.id for one in client.runtime.ListContainers(request).containers} == {running.id, created.id}


def test_labels_annotations_and_image_come_back(pods: Pods) -> None:
    pod = pods.run(pods.config(labels={"l": "1"}))
    container = pods.create(pod, "true")
    status = pods.client.status(container.id)
    assert status.metadata == container.config.metadata
    assert status.image_id == pods.images.busybox_id
    assert status.image_ref.partition("@")[2].startswith("sha256:")
    assert Path(status.log_path) == container.log
    assert pods.client.pods()[0].labels == {"l": "1"}


def test_a_container_cannot_start_in_a_stopped_pod_nor_twice(pods: Pods) -> None:
    pod = pods.run()
    container = pods.start(pod)
    refused(lambda: pods.client.start(container.id), grpc.StatusCode.FAILED_PRECONDITION, container.id[:12])
    pods.client.stop_pod(pod.id)
    refused(lambda: pods.create(pod, "true", name="late"), grpc.StatusCode.FAILED_PRECONDITION, pod.id[:12])
