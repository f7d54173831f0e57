"""GetContainerEvents: the evented PLEG."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import Pods
from e2e.pods import until

MADE = pb.ContainerEventType.CONTAINER_CREATED_EVENT
STARTED = pb.ContainerEventType.CONTAINER_STARTED_EVENT
STOPPED = pb.ContainerEventType.CONTAINER_STOPPED_EVENT
DELETED = pb.ContainerEventType.CONTAINER_DELETED_EVENT


class Listener:
    def __init__(self, client: Client) -> None:
        self.events: list[pb.ContainerEventResponse] = []
        self.stream = client.runtime.GetContainerEvents(pb.GetEventsRequest())
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        try:
            self.events.extend(iter(self.stream))
        except Exception:  # the end of a cancelled stream; what a test waits for then never comes, which is its failure
            return

    def kinds(self, container: str) -> list[int]:
        return [event.container_event_type for event in self.events if event.container_id == container]


@contextmanager
def listening(client: Client, pods: Pods) -> Iterator[Listener]:
    """The stream says nothing when it begins: a pod is run until it is heard of."""
    listener = Listener(client)
    try:
        probe = pods.run()
        until(lambda: bool(listener.kinds(probe.id)) or not listener.thread.is_alive(), seconds=5)
        if not listener.thread.is_alive():
            pytest.fail("the stream of events ended")
        yield listener
    finally:
        listener.stream.cancel()  # type: ignore[no-untyped-call]
        listener.thread.join(5)


def test_a_life_is_told_in_order(pods: Pods, client: Client) -> None:
    """proto: created, started, stopped and deleted, for containers and (kubelet) for sandboxes by their own ids."""
    with listening(client, pods) as listener:
        pod = pods.run()
        container, _ = pods.run_to_end("true", pod=pod)
        client.remove(container.id)
        client.stop_pod(pod.id)
        client.remove_pod(pod.id)
        until(lambda: DELETED in listener.kinds(pod.id))
        assert listener.kinds(container.id) == [MADE, STARTED, STOPPED, DELETED]
        assert listener.kinds(pod.id) == [MADE, STARTED, STOPPED, DELETED]


def test_times_grow(pods: Pods, client: Client) -> None:
    """kubelet: it drops what is older than what it has."""
    with listening(client, pods) as listener:
        container, _ = pods.run_to_end("true")
        until(lambda: STOPPED in listener.kinds(container.id))
        times = [event.created_at for event in listener.events]
        assert times == sorted(set(times))


def test_an_event_carries_the_whole_pod(pods: Pods, client: Client) -> None:
    """proto: the sandbox's status with metadata, and the statuses of all its containers at that moment."""
    with listening(client, pods) as listener:
        pod = pods.run()
        first = pods.start(pod, name="first")
        second, _ = pods.run_to_end("sh", "-c", "exit 3", pod=pod, name="second")
        until(lambda: STOPPED in listener.kinds(second.id))
        [stopped] = [e for e in listener.events if (e.container_id, e.container_event_type) == (second.id, STOPPED)]
        assert stopped.pod_sandbox_status.metadata == pod.config.metadata
        assert {status.id for status in stopped.containers_statuses} == {first.id, second.id}
        [mine] = [status for status in stopped.containers_statuses if status.id == second.id]
        assert mine.exit_code == 3


def test_every_listener_hears_everything(pods: Pods, client: Client) -> None:
    with listening(client, pods) as one, listening(client, pods) as two:
        container, _ = pods.run_to_end("true")
        for listener in (one, two):
            until(lambda: listener.kinds(container.id) == [MADE, STARTED, STOPPED])  # noqa: B023
