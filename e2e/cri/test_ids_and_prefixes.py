"""Ids: crictl shows 13 digits and sends what people type, so every call resolves a unique beginning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import EXITED, NOT_READY, UNKNOWN_ID, Pods
from e2e.pods import failure, refused

CONTAINER_CALLS: dict[str, Callable[[Client, str], Any]] = {
    "ContainerStatus": lambda client, name: client.status(name),
    "ExecSync": lambda client, name: client.exec(name, "true"),
    "ContainerStats": lambda client, name: client.runtime.ContainerStats(pb.ContainerStatsRequest(container_id=name)),
    "ReopenContainerLog": lambda client, name: client.runtime.ReopenContainerLog(
        pb.ReopenContainerLogRequest(container_id=name)
    ),
    "UpdateContainerResources": lambda client, name: client.runtime.UpdateContainerResources(
        pb.UpdateContainerResourcesRequest(container_id=name, linux=pb.LinuxContainerResources(cpu_shares=512))
    ),
    "Exec": lambda client, name: client.runtime.Exec(pb.ExecRequest(container_id=name, cmd=["sh"], stdout=True)),
    "Attach": lambda client, name: client.runtime.Attach(pb.AttachRequest(container_id=name, stdout=True)),
}
SANDBOX_CALLS: dict[str, Callable[[Client, str], Any]] = {
    "PodSandboxStatus": lambda client, name: client.pod_status(name),
    "PortForward": lambda client, name: client.runtime.PortForward(
        pb.PortForwardRequest(pod_sandbox_id=name, port=[80])
    ),
}
NEWER_SANDBOX_CALLS: dict[str, Callable[[Client, str], Any]] = {
    "PodSandboxStats": lambda client, name: client.runtime.PodSandboxStats(
        pb.PodSandboxStatsRequest(pod_sandbox_id=name)
    ),
    "UpdatePodSandboxResources": lambda client, name: client.runtime.UpdatePodSandboxResources(
        pb.UpdatePodSandboxResourcesRequest(pod_sandbox_id=name)
    ),
}


def test_containers_resolve_by_a_beginning(pods: Pods, client: Client) -> None:
    container = pods.start(pods.run())
    for name, call in CONTAINER_CALLS.items():
        try:
            call(client, container.id[:13])
        except grpc.RpcError as error:
            pytest.fail(f"{name}: {error}")
    client.stop(container.id[:13])
    assert client.status(container.id).state == EXITED
    client.remove(container.id[:13])
    refused(lambda: client.status(container.id), grpc.StatusCode.NOT_FOUND)


def test_a_created_container_starts_by_a_beginning(pods: Pods, client: Client) -> None:
    container = pods.create(pods.run(), "true")
    client.start(container.id[:13])
    pods.wait_for_exit(container)


def test_sandboxes_resolve_by_a_beginning(pods: Pods, client: Client) -> None:
    pod = pods.run()
    for name, call in SANDBOX_CALLS.items():
        try:
            call(client, pod.id[:13])
        except grpc.RpcError as error:
            pytest.fail(f"{name}: {error}")
    config = pods.container_config("true")
    client.create(pod.id[:13], config, pod.config)
    client.stop_pod(pod.id[:13])
    assert client.pod_status(pod.id).state == NOT_READY
    client.remove_pod(pod.id[:13])
    refused(lambda: client.pod_status(pod.id), grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("call", NEWER_SANDBOX_CALLS)
def test_newer_sandbox_calls_resolve_by_a_beginning(pods: Pods, client: Client, call: str) -> None:
    NEWER_SANDBOX_CALLS[call](client, pods.run().id[:13])


@pytest.mark.parametrize("name", [UNKNOWN_ID, "", "no such id", "../../etc", "f" * 4000])
@pytest.mark.parametrize("call", [*CONTAINER_CALLS, *SANDBOX_CALLS])
def test_an_unknown_id_is_not_found(client: Client, call: str, name: str) -> None:
    """kubelet: NOT_FOUND is the one answer that it understands as "gone"; anything else fails the pod's sync."""
    refused(lambda: (CONTAINER_CALLS | SANDBOX_CALLS)[call](client, name), grpc.StatusCode.NOT_FOUND)


def test_an_ambiguous_beginning_is_an_error(pods: Pods, client: Client) -> None:
    """Better refused than guessed: seventeen ids share a first digit."""
    pod = pods.run()
    ids = [pods.create(pod, "true", name=f"c{number}").id for number in range(17)]
    shared = next(digit for digit in "0123456789abcdef" if sum(one.startswith(digit) for one in ids) > 1)
    failure(lambda: client.status(shared))
    failure(lambda: client.remove(shared))
    assert {one.id for one in client.containers()} >= set(ids)
