"""Exec, Attach and PortForward: the answer is an address; the kubelet's proxy goes there."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import UNKNOWN_ID, Pods
from e2e.pods import Container, Pod, failure, refused


@pytest.fixture
def pod(pods: Pods) -> Pod:
    return pods.run()


@pytest.fixture
def container(pods: Pods, pod: Pod) -> Container:
    return pods.start(pod)


def exec_url(client: Client, container: str, **fields: Any) -> str:
    fields = {"cmd": ["sh"], "stdout": True, **fields}
    return client.runtime.Exec(pb.ExecRequest(container_id=container, **fields), timeout=10).url


def attach_url(client: Client, container: str, **fields: Any) -> str:
    fields = {"stdout": True, **fields}
    return client.runtime.Attach(pb.AttachRequest(container_id=container, **fields), timeout=10).url


def forward_url(client: Client, pod: str, *ports: int) -> str:
    return client.runtime.PortForward(pb.PortForwardRequest(pod_sandbox_id=pod, port=list(ports)), timeout=10).url


def test_an_address_is_whole(client: Client, pod: Pod, container: Container) -> None:
    """client: not empty. kubelet: a fully qualified URL."""
    for url in (exec_url(client, container.id), attach_url(client, container.id), forward_url(client, pod.id, 80)):
        parts = urlsplit(url)
        assert parts.scheme in ("http", "https")
        assert parts.hostname
        assert parts.port
        assert len(parts.path) > 8


def test_addresses_are_used_once_each(client: Client, container: Container) -> None:
    """An address is a secret: the next call must not get the same one, and a made-up one must lead nowhere."""
    first, second = exec_url(client, container.id), exec_url(client, container.id)
    assert first != second
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(first[:-6] + "AAAAAA", timeout=10)
    caught.value.close()
    assert 400 <= caught.value.code < 500


@pytest.mark.parametrize("call", [exec_url, attach_url])
def test_a_terminal_has_no_stderr(client: Client, container: Container, call: Any) -> None:
    """proto: tty and stderr together is invalid."""
    refused(lambda: call(client, container.id, tty=True, stderr=True), grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("call", [exec_url, attach_url])
def test_no_stream_at_all_is_invalid(client: Client, container: Container, call: Any) -> None:
    """proto: one of stdin, stdout and stderr must be true."""
    refused(lambda: call(client, container.id, stdout=False), grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("call", [exec_url, attach_url])
def test_only_for_a_running_container(pods: Pods, client: Client, pod: Pod, call: Any) -> None:
    """kubelet: NOT_FOUND becomes 404 for the user."""
    refused(lambda: call(client, UNKNOWN_ID), grpc.StatusCode.NOT_FOUND)
    created = pods.create(pod, "true", name="created")
    failure(lambda: call(client, created.id))


def test_port_forward_needs_a_ready_pod(client: Client, pod: Pod) -> None:
    refused(lambda: forward_url(client, UNKNOWN_ID, 80), grpc.StatusCode.NOT_FOUND)
    client.stop_pod(pod.id)
    failure(lambda: forward_url(client, pod.id, 80))


def test_port_forward_may_leave_the_ports_to_the_streams(client: Client, pod: Pod) -> None:
    """SPDY clients name the port in each stream's headers."""
    assert forward_url(client, pod.id)
