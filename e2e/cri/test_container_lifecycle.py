"""A container from CreateContainer to RemoveContainer."""

from __future__ import annotations

import time

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import CREATED, EXITED, RUNNING, Pods
from e2e.pods import failure, refused


def test_created_running_exited(pods: Pods, client: Client) -> None:
    """proto: the states in their order, and times that follow one another."""
    pod = pods.run()
    container = pods.create(pod, "sh", "-c", "echo out; sleep 1; exit 3")
    created = client.status(container.id)
    assert (created.state, created.started_at, created.finished_at) == (CREATED, 0, 0)
    client.start(container.id)
    running = client.status(container.id)
    assert (running.state, running.finished_at) == (RUNNING, 0)
    ended = pods.wait_for_exit(container)
    assert ended.exit_code == 3
    assert 0 < ended.created_at <= ended.started_at <= ended.finished_at <= time.time_ns()


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("exit 255", 255), ("kill -9 $$", 137)])
def test_exit_codes_are_those_of_a_shell(pods: Pods, script: str, code: int) -> None:
    """kubelet: passed through to the pod's status; a signal is 128 and its number."""
    # PID 1 of a namespace cannot kill itself: a child does the dying.
    _, status = pods.run_to_end("sh", "-c", f"sh -c '{script}'; exit $?")
    assert status.exit_code == code


@pytest.mark.parametrize(("code", "reason"), [(0, "Completed"), (1, "Error")])
def test_reasons_of_an_end(pods: Pods, code: int, reason: str) -> None:
    """kubelet: shown as the reason of the terminated state."""
    _, status = pods.run_to_end("sh", "-c", f"exit {code}")
    assert status.reason == reason


def test_a_container_out_of_memory_is_said_to_be_so(pods: Pods) -> None:
    """kubelet: an init container with reason OOMKilled has failed even when its code is 0."""
    limits = pb.LinuxContainerResources(memory_limit_in_bytes=16 << 20, memory_swap_limit_in_bytes=16 << 20)
    _, status = pods.run_to_end("sh", "-c", "head -c 100000000 /dev/zero | tail", resources=limits)
    assert status.reason == "OOMKilled"


def test_the_workload_does_not_run_before_start(pods: Pods, client: Client) -> None:
    pod = pods.run()
    container = pods.create(pod, "sh", "-c", "echo started")
    time.sleep(0.2)
    assert not container.log.exists() or container.log.read_text() == ""
    client.start(container.id)
    pods.wait_for_line(container, "started")


def test_a_container_starts_only_once(pods: Pods, client: Client) -> None:
    """proto, StartContainer: only a created container can be started."""
    pod = pods.run()
    running = pods.start(pod, name="runs")
    failure(lambda: client.start(running.id))
    ended, _ = pods.run_to_end("true", pod=pod, name="ended")
    failure(lambda: client.start(ended.id))
    assert client.status(running.id).state == RUNNING


def test_a_failed_start_leaves_an_exited_container_that_says_why(pods: Pods, client: Client) -> None:
    """kubelet: it shows the message of the call, and later the reason of the exited container."""
    pod = pods.run()
    container = pods.create(pod, "/no/such/program")
    error = failure(lambda: client.start(container.id))
    assert "/no/such/program" in str(error.details())
    status = client.status(container.id)
    assert (status.state, bool(status.reason)) == (EXITED, True)
    assert status.exit_code != 0
    client.remove(container.id)


def test_stop_sends_the_signal_and_waits(pods: Pods, client: Client) -> None:
    """proto, StopContainer: a graceful signal first; the call returns when the container has ended."""
    pod = pods.run()
    script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 9 & wait $!; done"
    container = pods.start(pod, "sh", "-c", script)
    pods.wait_for_line(container, "ready")
    client.stop(container.id, timeout=10)
    status = client.status(container.id)
    assert (status.state, status.exit_code) == (EXITED, 7)
    assert container.text() == ["ready", "bye"]


def test_stop_kills_what_does_not_end_in_time(pods: Pods, client: Client) -> None:
    """proto, StopContainer: after the timeout it is forcibly terminated."""
    pod = pods.run()
    container = pods.start(pod, "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done")
    pods.wait_for_line(container, "deaf")
    client.stop(container.id, timeout=1)
    status = client.status(container.id)
    assert (status.state, status.exit_code) == (EXITED, 137)


def test_a_timeout_of_zero_kills_at_once(pods: Pods, client: Client) -> None:
    """proto, StopContainer: timeout 0 is a forced termination."""
    pod = pods.run()
    container = pods.start(pod)
    client.stop(container.id, timeout=0)
    assert client.status(container.id).exit_code == 137


def test_the_images_stop_signal_counts(pods: Pods, client: Client) -> None:
    """An image's STOPSIGNAL is the signal of a graceful stop; the catalogue's nginx has QUIT."""
    client.pull(pods.images.nginx)
    pod = pods.run()
    script = "trap 'exit 9' TERM; trap 'exit 5' QUIT; echo ready; while :; do sleep 9 & wait $!; done"
    container = pods.start(pod, "sh", "-c", script, image=pods.images.nginx)
    pods.wait_for_line(container, "ready")
    client.stop(container.id, timeout=10)
    assert client.status(container.id).exit_code == 5


def test_the_pods_stop_signal_comes_before_the_images(pods: Pods, client: Client) -> None:
    """proto, ContainerConfig.stop_signal (1.33): overrides the image's."""
    pod = pods.run()
    script = "trap 'exit 9' TERM; trap 'exit 6' USR1; echo ready; while :; do sleep 9 & wait $!; done"
    config = pods.container_config("sh", "-c", script)
    config.stop_signal = pb.Signal.SIGNAL_SIGUSR1
    container = pods.create_from(pod, config)
    client.start(container.id)
    pods.wait_for_line(container, "ready")
    assert client.status(container.id).stop_signal == pb.Signal.SIGNAL_SIGUSR1
    client.stop(container.id, timeout=10)
    assert client.status(container.id).exit_code == 6


def test_a_created_container_can_be_stopped_and_removed(pods: Pods, client: Client) -> None:
    """kubelet: it cleans up containers that it never started."""
    pod = pods.run()
    container = pods.create(pod, "true")
    client.stop(container.id)
    client.remove(container.id)
    refused(lambda: client.status(container.id), grpc.StatusCode.NOT_FOUND)


def test_a_running_container_is_removed_by_force(pods: Pods, client: Client) -> None:
    """proto, RemoveContainer: a running container must be forcibly removed."""
    pod = pods.run()
    container = pods.start(pod)
    client.remove(container.id)
    assert container.id not in {one.id for one in client.containers()}
    refused(lambda: client.status(container.id), grpc.StatusCode.NOT_FOUND)


def test_a_name_is_free_again_after_removal(pods: Pods, client: Client) -> None:
    pod = pods.run()
    first, _ = pods.run_to_end("true", pod=pod)
    client.remove(first.id)
    assert pods.create(pod, "true").id != first.id


def test_the_next_attempt_stands_beside_the_last(pods: Pods, client: Client) -> None:
    """kubelet: a restart is a new container with a higher attempt; the old one stays for its logs."""
    pod = pods.run()
    first, _ = pods.run_to_end("true", pod=pod)
    config = pods.container_config("true")
    config.metadata.attempt = 1
    second = pods.create_from(pod, config)
    listed = {one.id: one.metadata.attempt for one in client.containers() if one.pod_sandbox_id == pod.id}
    assert listed == {first.id: 0, second.id: 1}
