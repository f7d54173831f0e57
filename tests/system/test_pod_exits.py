"""How containers end: codes, signals, out of memory, commands that are not there, limits that change."""

from __future__ import annotations

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.pods import refused
from tests.system.pods import Pods


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
)
def test_exit_codes(pods: Pods, script: str, code: int) -> None:
    # The inner shell is not PID 1 of the container, so signals reach it; the outer one hands its status on.
    _, ended = pods.run_to_end("sh", "-c", f"sh -c '{script}'; exit $?")
    assert ended.exit_code == code


def test_a_container_over_its_memory_limit_is_oom_killed(pods: Pods) -> None:
    limits = pb.LinuxContainerResources(memory_limit_in_bytes=15 << 20, memory_swap_limit_in_bytes=15 << 20)
    _, ended = pods.run_to_end("dd", "if=/dev/zero", "of=/dev/null", "bs=20M", resources=limits)
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


def test_a_child_that_is_oom_killed_does_not_end_the_container(pods: Pods) -> None:
    limits = pb.LinuxContainerResources(memory_limit_in_bytes=20 << 20, memory_swap_limit_in_bytes=20 << 20)
    container, ended = pods.run_to_end(
        "sh", "-c", "dd if=/dev/zero of=/dev/null bs=40M; echo child $?; exit 5", resources=limits
    )
    assert ended.exit_code == 5
    assert container.text()[-1] == "child 137"


def test_limits_change_while_it_runs(pods: Pods) -> None:
    limits = pb.LinuxContainerResources(memory_limit_in_bytes=32 << 20)
    container = pods.start(pods.run(), resources=limits)
    update = pb.UpdateContainerResourcesRequest(
        container_id=container.id,
        linux=pb.LinuxContainerResources(
            memory_limit_in_bytes=64 << 20, cpu_shares=512, cpu_quota=50_000, cpu_period=100_000
        ),
    )
    pods.client.runtime.UpdateContainerResources(update)
    status = pods.client.status(container.id)
    assert status.resources.linux.memory_limit_in_bytes == 64 << 20
    assert status.resources.linux.cpu_quota == 50_000
    size = "$((50 << 20))"
    assert pods.client.exec(container.id, "sh", "-c", f"dd if=/dev/zero of=/dev/null bs={size} count=1").exit_code == 0


def test_a_command_that_is_not_in_the_image_fails_to_start(pods: Pods) -> None:
    pod = pods.run()
    container = pods.create(pod, "/no/such/program")
    with pytest.raises(grpc.RpcError) as caught:
        pods.client.start(container.id)
    assert isinstance(caught.value, grpc.Call)
    assert "/no/such/program" in (caught.value.details() or "")
    assert pods.client.status(container.id).state == pb.ContainerState.CONTAINER_EXITED
    pods.client.remove(container.id)


def test_a_process_that_leaves_children_takes_them_along(pods: Pods) -> None:
    _, ended = pods.run_to_end("sh", "-c", "sleep 999 & sleep 999 & exit 6")
    assert ended.exit_code == 6


def test_a_removed_image_does_not_hurt_a_running_container(pods: Pods) -> None:
    container = pods.start(pods.run())
    pods.client.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=pods.images.busybox)))
    assert pods.client.exec(container.id, "ls", "/bin/busybox").exit_code == 0
    refused(lambda: pods.run_to_end("true"), grpc.StatusCode.NOT_FOUND, pods.images.busybox)
    pods.client.pull(pods.images.busybox)
