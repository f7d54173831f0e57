"""A pod sandbox from RunPodSandbox to RemovePodSandbox."""

from __future__ import annotations

import re
import time

import grpc

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import EXITED, NOT_READY, READY, Pods
from e2e.pods import failure, refused


def test_a_sandbox_is_ready_when_the_call_returns(pods: Pods, client: Client) -> None:
    """proto, RunPodSandbox: on success the sandbox is in the ready state."""
    pod = pods.run()
    assert client.pod_status(pod.id).state == READY
    assert [one.state for one in client.pods() if one.id == pod.id] == [READY]


def test_ids_are_64_hexadecimal_digits(pods: Pods) -> None:
    """kubelet and cAdvisor parse ids out of file and cgroup names: no dash, 64 lower-case hex digits."""
    pod = pods.run()
    assert re.fullmatch("[0-9a-f]{64}", pod.id)
    assert re.fullmatch("[0-9a-f]{64}", pods.create(pod, "true").id)


def test_created_at_is_nanoseconds_since_the_epoch(pods: Pods, client: Client) -> None:
    """client: not zero. proto: nanoseconds."""
    before = time.time_ns()
    pod = pods.run()
    assert before - 10**9 <= client.pod_status(pod.id).created_at <= time.time_ns() + 10**9


def test_a_stopped_sandbox_is_not_ready_and_still_there(pods: Pods, client: Client) -> None:
    """kubelet: it sees the newest sandbox not ready and makes another; the record stays until it is removed."""
    pod = pods.run()
    client.stop_pod(pod.id)
    assert client.pod_status(pod.id).state == NOT_READY
    assert pod.id in {one.id for one in client.pods()}


def test_stopping_a_sandbox_ends_its_running_containers(pods: Pods, client: Client) -> None:
    """proto, StopPodSandbox: running containers in it must be forcibly terminated."""
    pod = pods.run()
    deaf = pods.start(pod, "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done", name="deaf")
    pods.wait_for_line(deaf, "deaf")
    client.stop_pod(pod.id)
    status = client.status(deaf.id)
    assert status.state == EXITED
    assert status.exit_code == 137


def test_stopping_a_sandbox_gives_its_network_back(pods: Pods, client: Client) -> None:
    """proto, StopPodSandbox: network resources must be released; so a host port is free for the next pod."""
    port = pb.PortMapping(protocol=pb.Protocol.TCP, container_port=8080, host_port=28643, host_ip="127.0.0.1")
    first = pods.run(pods.config(ports=[port]))
    client.stop_pod(first.id)
    second = pods.run(pods.config(ports=[port]))
    assert client.pod_status(second.id).state == READY


def test_removing_a_sandbox_removes_its_containers(pods: Pods, client: Client) -> None:
    """proto, RemovePodSandbox: containers in it must be forcibly removed."""
    pod = pods.run()
    running, ended = pods.start(pod, name="runs"), pods.create(pod, "true", name="waits")
    client.stop_pod(pod.id)
    client.remove_pod(pod.id)
    assert pod.id not in {one.id for one in client.pods()}
    assert not {running.id, ended.id} & {one.id for one in client.containers()}
    refused(lambda: client.pod_status(pod.id), grpc.StatusCode.NOT_FOUND)
    refused(lambda: client.status(running.id), grpc.StatusCode.NOT_FOUND)


def test_a_ready_sandbox_can_be_removed_at_once(pods: Pods, client: Client) -> None:
    """proto, RemovePodSandbox: it force-removes; crictl rmp -f and garbage collection rely on it."""
    pod = pods.run()
    container = pods.start(pod)
    client.remove_pod(pod.id)
    assert pod.id not in {one.id for one in client.pods()}
    assert container.id not in {one.id for one in client.containers()}


def test_no_container_is_made_in_a_stopped_sandbox(pods: Pods, client: Client) -> None:
    """kubelet: it makes a new sandbox first; a container in a pod without a network would be a lie."""
    pod = pods.run()
    client.stop_pod(pod.id)
    failure(lambda: pods.create(pod, "true"))


def test_a_created_container_does_not_start_in_a_stopped_sandbox(pods: Pods, client: Client) -> None:
    pod = pods.run()
    container = pods.create(pod, "true")
    client.stop_pod(pod.id)
    failure(lambda: client.start(container.id))


def test_pods_of_one_name_differ_by_uid_and_by_attempt(pods: Pods, client: Client) -> None:
    """kubelet: a pod made anew has a new uid, a new sandbox of a pod a higher attempt; the old may still be there."""
    first = pods.run()
    client.stop_pod(first.id)
    config = pods.config()
    config.metadata.CopyFrom(first.config.metadata)
    config.metadata.attempt = 1
    second = pods.run(config)
    other = pods.config()
    other.metadata.CopyFrom(first.config.metadata)
    other.metadata.uid = "another-uid"
    third = pods.run(other)
    assert len({first.id, second.id, third.id}) == 3
    assert client.pod_status(second.id).metadata.attempt == 1


def test_a_sandbox_without_containers_keeps_running(pods: Pods, client: Client) -> None:
    """kubelet: init containers come and go; the sandbox holds the namespaces between them."""
    pod = pods.run()
    container, _ = pods.run_to_end("true", pod=pod)
    client.remove(container.id)
    assert client.pod_status(pod.id).state == READY
    assert pods.output("hostname", pod=pod, name="next") == [pod.config.hostname]
