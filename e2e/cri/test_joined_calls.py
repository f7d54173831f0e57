"""Retries: the kubelet's call has a deadline, the work may take longer, and the kubelet asks again for the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import READY, Pods
from e2e.processes import SLOWNESS

T = TypeVar("T")
_FIRST_DEADLINE = 0.004
_PATIENCE = 20.0 * SLOWNESS


def insist(call: Callable[[float], T]) -> T:
    """`call(timeout)` again and again with deadlines that grow from too short, as a kubelet under load does."""
    timeout, end = _FIRST_DEADLINE, time.monotonic() + _PATIENCE
    while True:
        try:
            return call(timeout)
        except grpc.RpcError:
            if time.monotonic() > end:
                raise
        time.sleep(0.02)  # a refusal may come at once
        timeout = min(timeout * 1.3, 20)


@pytest.mark.parametrize("time_of_day", range(3))
def test_a_pod_that_was_asked_for_often_is_one_pod(pods: Pods, client: Client, time_of_day: int) -> None:
    """kubelet: two ready sandboxes of one pod would both be killed; a name that is "reserved" for ever never starts."""
    config = pods.config()
    request = pb.RunPodSandboxRequest(config=config)
    sandbox = pods.made(insist(lambda timeout: client.runtime.RunPodSandbox(request, timeout=timeout).pod_sandbox_id))
    mine = [pod for pod in client.pods() if pod.metadata.uid == config.metadata.uid]
    assert [(pod.id, pod.state) for pod in mine] == [(sandbox, READY)]


@pytest.mark.parametrize("time_of_day", range(3))
def test_a_container_that_was_asked_for_often_is_one_container(pods: Pods, client: Client, time_of_day: int) -> None:
    pod = pods.run()
    config = pods.container_config("echo", "once")
    request = pb.CreateContainerRequest(pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config)
    container = insist(lambda timeout: client.runtime.CreateContainer(request, timeout=timeout).container_id)
    assert [one.id for one in client.containers() if one.pod_sandbox_id == pod.id] == [container]
    client.start(container)


def test_an_image_that_was_asked_for_often_is_there(pods: Pods, client: Client) -> None:
    request = pb.PullImageRequest(image=pb.ImageSpec(image=pods.target.throwaway))
    reference = insist(lambda timeout: client.images.PullImage(request, timeout=timeout).image_ref)
    image = pods.image(pods.target.throwaway)
    assert image is not None
    assert image.id == reference
    client.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=image.id)), timeout=30)


def at_once(call: Callable[[], str]) -> set[str]:
    """The ids that four callers get. Who comes after the answer, on a busy machine, is told of what there is."""
    together = Barrier(4)

    def caller(_: int) -> str:
        together.wait()
        try:
            return call()
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.ALREADY_EXISTS:
                return ""
            raise

    with ThreadPoolExecutor(4) as callers:
        return set(callers.map(caller, range(4))) - {""}


def test_calls_for_one_pod_at_once_get_one_pod(pods: Pods, client: Client) -> None:
    """Joined, not refused: a retry gets the id the moment it exists."""
    config = pods.config()
    assert len(at_once(lambda: pods.run(config).id)) == 1


def test_calls_for_one_container_at_once_get_one_container(pods: Pods) -> None:
    pod = pods.run()
    config = pods.container_config("true")
    assert len(at_once(lambda: pods.create_from(pod, config).id)) == 1


def test_pulls_of_one_image_at_once_all_succeed(pods: Pods, client: Client) -> None:
    with ThreadPoolExecutor(4) as callers:
        ids = set(callers.map(client.pull, [pods.target.throwaway] * 4))
    assert len(ids) == 1
    client.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=ids.pop())), timeout=30)


def test_a_stop_that_was_given_up_is_finished_by_the_next(pods: Pods, client: Client) -> None:
    """kubelet: StopPodSandbox is repeated until it answers."""
    pod = pods.run()
    pods.start(pod)
    request = pb.StopPodSandboxRequest(pod_sandbox_id=pod.id)
    insist(lambda timeout: client.runtime.StopPodSandbox(request, timeout=timeout))
    removal = pb.RemovePodSandboxRequest(pod_sandbox_id=pod.id)
    insist(lambda timeout: client.runtime.RemovePodSandbox(removal, timeout=timeout))
    assert pod.id not in {one.id for one in client.pods()}
