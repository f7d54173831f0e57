"""Calls that may be repeated: the kubelet repeats them until it has seen an answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from e2e.client import Client
from e2e.cri.pods import EXITED, UNKNOWN_ID, Pods
from e2e.pods import failure, refused


def test_stop_and_remove_of_a_container(pods: Pods, client: Client) -> None:
    """proto: StopContainer and RemoveContainer must not fail when it was done already."""
    container = pods.start(pods.run())
    for _ in range(3):
        client.stop(container.id)
    for _ in range(3):
        client.remove(container.id)
    client.stop(container.id)


def test_stop_and_remove_of_a_sandbox(pods: Pods, client: Client) -> None:
    """proto: StopPodSandbox and RemovePodSandbox must not fail when it was done already."""
    pod = pods.run()
    for _ in range(3):
        client.stop_pod(pod.id)
    for _ in range(3):
        client.remove_pod(pod.id)
    client.stop_pod(pod.id)


@pytest.mark.parametrize("call", ["stop", "remove", "stop_pod", "remove_pod"])
def test_of_what_never_was(client: Client, call: str) -> None:
    """An id that nobody knows is stopped, and removed, already."""
    getattr(client, call)(UNKNOWN_ID)


def test_the_removal_of_an_exited_container_keeps_the_log(pods: Pods, client: Client) -> None:
    """kubelet: log files are its own to delete."""
    container, _ = pods.run_to_end("echo", "kept")
    client.remove(container.id)
    assert container.text() == ["kept"]


def test_two_who_stop_at_once_both_hear_of_the_end(pods: Pods, client: Client) -> None:
    container = pods.start(pods.run())
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda _: client.stop(container.id, timeout=10), range(4)))
    assert client.status(container.id).state == EXITED


def test_two_who_remove_at_once_both_succeed(pods: Pods, client: Client) -> None:
    pod = pods.run()
    container = pods.start(pod)
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda _: client.remove(container.id), range(4)))
        list(callers.map(lambda _: client.remove_pod(pod.id), range(4)))
    refused(lambda: client.pod_status(pod.id), grpc.StatusCode.NOT_FOUND)


def test_a_shorter_grace_overtakes_a_longer_one(pods: Pods, client: Client) -> None:
    """kubelet: a forced deletion comes while a graceful one is under way."""
    container = pods.start(pods.run(), "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done")
    pods.wait_for_line(container, "deaf")
    with ThreadPoolExecutor(1) as callers:
        slow = callers.submit(client.stop, container.id, 60)
        client.stop(container.id, timeout=0)
        slow.result(timeout=20)
    assert client.status(container.id).exit_code == 137


def test_what_exists_is_not_made_twice(pods: Pods, client: Client) -> None:
    """A name is taken (pod: name, namespace, uid, attempt; container: name, attempt); the error names its owner."""
    pod = pods.run()
    error = failure(lambda: pods.run(pod.config))
    assert pod.id in str(error.details())
    container = pods.create(pod, "true")
    error = failure(lambda: pods.create_from(pod, container.config))
    assert container.id in str(error.details())
    assert len([one for one in client.containers() if one.pod_sandbox_id == pod.id]) == 1
