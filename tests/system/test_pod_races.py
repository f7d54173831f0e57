"""Calls that cross each other, and processes that die in the middle of calls: nothing survives that should not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e import cgroups
from e2e.client import container_config
from e2e.pods import SERVE, Pod, until
from tests.system.pods import Pods

#: What a call may answer whose pod, shim or daemon goes away under it.
EXPECTED = {
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
}


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def complaint(future: Future[object]) -> str:
    """Of a call that is answered UNAVAILABLE."""
    with pytest.raises(grpc.RpcError) as caught:
        future.result()
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return caught.value.details() or ""


def attempt(call: Callable[[], object]) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        return error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    return grpc.StatusCode.OK


def storm(pods: Pods, pod: Pod, threads: ThreadPoolExecutor, count: int = 6) -> list[Future[grpc.StatusCode]]:
    """Containers that are created and started at once."""
    client = pods.client

    def make(number: int) -> None:
        config = container_config(f"c{number}", pods.images.busybox, *SERVE)
        client.start(client.create(pod.id, config, pod.config))

    return [threads.submit(attempt, partial(make, number)) for number in range(count)]


def codes(futures: list[Future[grpc.StatusCode]]) -> set[grpc.StatusCode]:
    wait(futures)
    return {future.result() for future in futures}


def members(pods: Pods) -> set[int]:
    """Processes of containers."""
    return cgroups.processes(pods.cgroup)


@pytest.mark.parametrize("begun", [0, 1, 3, 5])
def test_nothing_comes_to_be_in_a_pod_that_stops(pods: Pods, threads: ThreadPoolExecutor, begun: int) -> None:
    pod = pods.run()
    making = storm(pods, pod, threads)
    until(lambda: len(pods.client.containers()) >= begun)
    pods.client.stop_pod(pod.id)
    assert not members(pods)
    assert codes(making) <= EXPECTED | {grpc.StatusCode.OK}
    assert {one.state for one in pods.client.containers()} <= {pb.ContainerState.CONTAINER_EXITED}
    assert pods.client.pod_status(pod.id).state == pb.PodSandboxState.SANDBOX_NOTREADY


def test_nothing_comes_to_be_in_a_pod_that_is_removed(pods: Pods, threads: ThreadPoolExecutor) -> None:
    pod = pods.run()
    making = storm(pods, pod, threads)
    pods.client.remove_pod(pod.id)
    assert codes(making) <= EXPECTED | {grpc.StatusCode.OK}
    assert (list(pods.client.containers()), list(pods.client.pods()), members(pods)) == ([], [], set())


@pytest.mark.parametrize("begun", [0, 1, 4])
def test_a_shim_killed_in_a_storm_is_replaced(pods: Pods, threads: ThreadPoolExecutor, begun: int) -> None:
    pod = pods.run()
    shim = pods.daemon.shim_pid(pod.id)
    making = storm(pods, pod, threads)
    until(lambda: len(pods.client.containers()) >= begun)
    os.kill(shim, signal.SIGKILL)
    assert codes(making) <= EXPECTED | {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN}
    until(lambda: pods.daemon.monitors() not in ((), (shim,)))
    again = pods.start(pod, name="again")
    assert pods.client.exec(again.id, "echo", "here").stdout == b"here\n"
    pods.client.stop_pod(pod.id)
    assert not members(pods)


def test_a_shim_killed_while_its_pod_stops_holds_up_nothing(pods: Pods, threads: ThreadPoolExecutor) -> None:
    pod = pods.run()
    container = pods.start(pod, "sleep", "1000")
    shim = pods.daemon.shim_pid(pod.id)
    os.kill(shim, signal.SIGSTOP)  # so that the stop cannot be over before
    stopping = threads.submit(attempt, lambda: pods.client.stop_pod(pod.id))
    until(lambda: pods.client.pod_status(pod.id).state == pb.PodSandboxState.SANDBOX_NOTREADY)
    os.kill(shim, signal.SIGKILL)
    wait([stopping])
    pods.client.stop_pod(pod.id)
    assert not members(pods)
    assert pods.client.status(container.id).exit_code == 137


def test_a_launcher_killed_while_pods_are_made_is_not_noticed(pods: Pods, threads: ThreadPoolExecutor) -> None:
    configs = [pods.config() for _ in range(6)]
    launcher = pods.daemon.launcher_pid()
    making = [threads.submit(pods.run, config) for config in configs]
    os.kill(launcher, signal.SIGKILL)
    wait(making)
    made = [future.result() for future in making]
    assert {pods.client.pod_status(pod.id).state for pod in made} == {pb.PodSandboxState.SANDBOX_READY}
    pods.remove_all()
    assert pods.daemon.monitors() == ()


@pytest.mark.parametrize("begun", [0, 1, 2, 4])
def test_a_daemon_killed_in_a_storm_leaves_nothing_it_does_not_know(
    pods: Pods, threads: ThreadPoolExecutor, begun: int
) -> None:
    pod = pods.run()
    making = storm(pods, pod, threads)
    configs = [pods.config() for _ in range(2)]
    making += [threads.submit(attempt, partial(pods.run, config)) for config in configs]
    until(lambda: len(pods.client.containers()) >= begun)
    pods.daemon.kill()
    wait(making)
    pods.daemon.start()
    states = {one.state for one in pods.client.containers()}
    assert states <= {pb.ContainerState.CONTAINER_CREATED, pb.ContainerState.CONTAINER_RUNNING}
    for one in pods.client.pods():
        pods.client.stop_pod(one.id)
        pods.client.remove_pod(one.id)
    until(lambda: pods.daemon.monitors() == () and not members(pods))


def shared_pod(pods: Pods) -> Pod:
    config = pods.config()
    config.linux.security_context.namespace_options.pid = pb.NamespaceMode.POD
    return pods.run(config)


def init_of(pods: Pods, pod: Pod) -> int:
    request = pb.PodSandboxStatusRequest(pod_sandbox_id=pod.id, verbose=True)
    return int(json.loads(pods.client.runtime.PodSandboxStatus(request).info["info"])["pid"])


def test_a_pod_whose_init_dies_is_over_with_all_it_has(pods: Pods) -> None:
    pod = shared_pod(pods)
    own = pods.start(pod, name="own")
    os.kill(init_of(pods, pod), signal.SIGKILL)
    until(lambda: pods.client.pod_status(pod.id).state == pb.PodSandboxState.SANDBOX_NOTREADY)
    assert pods.wait_for_exit(own).exit_code == 137
    until(lambda: pods.daemon.monitors() == ())


def test_the_init_of_a_pod_does_not_outlive_daemon_and_shim(pods: Pods) -> None:
    pod = shared_pod(pods)
    init = init_of(pods, pod)
    shim = pods.daemon.shim_pid(pod.id)
    pods.daemon.kill()
    os.kill(shim, signal.SIGKILL)
    pods.daemon.start()
    pods.client.stop_pod(pod.id)
    until(lambda: not Path(f"/proc/{init}").exists() or " Z " in Path(f"/proc/{init}/stat").read_text())


def test_what_a_container_leaves_in_the_pods_pid_namespace_ends_with_it(pods: Pods) -> None:
    pod = shared_pod(pods)
    config = container_config("main", pods.images.busybox, "sh", "-c", "sleep 1000 & exit 3")
    config.linux.security_context.namespace_options.pid = pb.NamespaceMode.POD
    container = pods.create_from(pod, config)
    pods.client.start(container.id)
    assert pods.wait_for_exit(container).exit_code == 3
    until(lambda: not members(pods))


def test_a_shim_that_hangs_is_named_and_holds_up_nobody_else(pods: Pods, threads: ThreadPoolExecutor) -> None:
    """What is asked of its pod fails in bounded time, other pods do not notice, and what it did late is seen."""
    pod, other, doomed = pods.run(), pods.run(), pods.run()
    running = pods.start(pod, name="running")
    created = pods.create(pod, *SERVE, name="created")
    pods.start(doomed)
    shim = pods.daemon.shim_pid(pod.id)
    os.kill(shim, signal.SIGSTOP)
    os.kill(pods.daemon.shim_pid(doomed.id), signal.SIGSTOP)
    try:
        removal = threads.submit(pods.client.stop_pod, doomed.id)
        calls: list[Future[object]] = [
            threads.submit(lambda: pods.client.exec(running.id, "true")),
            threads.submit(lambda: pods.create(pod, "true", name="third")),
            threads.submit(lambda: pods.client.start(created.id)),
        ]
        assert pods.client.exec(pods.start(other).id, "true").exit_code == 0
        for call in calls:
            text = complaint(call)
            assert f"/{pod.config.metadata.name} " in text
            assert f"kill -KILL {shim}" in text
        assert attempt(lambda: pods.client.exec(running.id, "true")) is grpc.StatusCode.UNAVAILABLE  # at once
        assert pods.client.status(created.id).state == pb.ContainerState.CONTAINER_CREATED
    finally:
        os.kill(shim, signal.SIGCONT)
    until(lambda: pods.client.status(created.id).state == pb.ContainerState.CONTAINER_RUNNING)
    until(lambda: attempt(lambda: pods.client.exec(running.id, "true")) is grpc.StatusCode.OK)
    removal.result()
    pods.client.remove_pod(doomed.id)
    until(lambda: len(pods.client.containers()) == 3)
