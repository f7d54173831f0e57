"""UpdateContainerResources and UpdatePodSandboxResources: in-place resize and the CPU manager."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import UNKNOWN_ID, Pods
from e2e.pods import Container, failure, refused

MEMORY = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null"
QUOTA = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2> /dev/null"


@pytest.fixture
def container(pods: Pods) -> Container:
    limits = pb.LinuxContainerResources(
        cpu_period=100_000, cpu_quota=50_000, cpu_shares=512, memory_limit_in_bytes=64 << 20
    )
    return pods.start(pods.run(), resources=limits)


def update(client: Client, container: str, **changes: Any) -> None:
    request = pb.UpdateContainerResourcesRequest(container_id=container, linux=pb.LinuxContainerResources(**changes))
    client.runtime.UpdateContainerResources(request, timeout=30)


def test_an_update_is_in_force_when_the_call_returns(client: Client, container: Container) -> None:
    """proto: synchronous."""
    update(client, container.id, memory_limit_in_bytes=96 << 20, cpu_quota=80_000, cpu_period=100_000)
    assert str(96 << 20).encode() in client.exec(container.id, "sh", "-c", MEMORY).stdout
    assert b"80000" in client.exec(container.id, "sh", "-c", QUOTA).stdout


def test_an_update_shows_in_the_status(client: Client, container: Container) -> None:
    """kubelet: the pod's status reports what the runtime says is in force."""
    update(client, container.id, memory_limit_in_bytes=96 << 20, cpu_quota=80_000, cpu_shares=1024)
    shown = client.status(container.id).resources.linux
    assert (shown.memory_limit_in_bytes, shown.cpu_quota, shown.cpu_shares) == (96 << 20, 80_000, 1024)


def test_zero_leaves_a_limit_as_it_is(client: Client, container: Container) -> None:
    """kubelet: the CPU manager sends cpuset_cpus alone."""
    update(client, container.id, cpuset_cpus="0")
    assert str(64 << 20).encode() in client.exec(container.id, "sh", "-c", MEMORY).stdout
    shown = client.status(container.id).resources.linux
    assert (shown.cpu_quota, shown.cpu_shares, shown.memory_limit_in_bytes) == (50_000, 512, 64 << 20)
    allowed = client.exec(container.id, "grep", "Cpus_allowed_list", "/proc/1/status").stdout
    assert allowed.split() == [b"Cpus_allowed_list:", b"0"]


def test_a_created_container_can_be_updated(pods: Pods, client: Client) -> None:
    """kubelet: the CPU manager pins a container before it starts."""
    container = pods.create(pods.run(), "sh", "-c", MEMORY)
    update(client, container.id, memory_limit_in_bytes=32 << 20)
    client.start(container.id)
    pods.wait_for_exit(container)
    assert str(32 << 20) in container.text()


def test_an_exited_container_has_nothing_to_update(pods: Pods, client: Client) -> None:
    container, _ = pods.run_to_end("true")
    failure(lambda: update(client, container.id, cpu_shares=512))


def test_an_update_that_the_kernel_refuses_is_an_error_and_changes_nothing(
    client: Client, container: Container
) -> None:
    failure(lambda: update(client, container.id, cpuset_cpus="4000"))
    assert client.status(container.id).resources.linux.cpuset_cpus == ""
    assert client.exec(container.id, "true").exit_code == 0


@pytest.mark.parametrize("changes", [{"memory_limit_in_bytes": -5}, {"cpu_shares": -1}, {"cpu_quota": -7}])
def test_nonsense_is_refused(client: Client, container: Container, changes: dict[str, int]) -> None:
    failure(lambda: update(client, container.id, **changes))


def test_an_unknown_container_is_not_found(client: Client) -> None:
    refused(lambda: update(client, UNKNOWN_ID, cpu_shares=512), grpc.StatusCode.NOT_FOUND)


def test_a_pods_resources_are_told_before_the_kubelet_changes_them(pods: Pods, client: Client) -> None:
    """proto, UpdatePodSandboxResources: best effort; an error would fail the resize."""
    pod = pods.run()
    request = pb.UpdatePodSandboxResourcesRequest(
        pod_sandbox_id=pod.id, resources=pb.LinuxContainerResources(cpu_shares=256, memory_limit_in_bytes=128 << 20)
    )
    client.runtime.UpdatePodSandboxResources(request, timeout=10)
