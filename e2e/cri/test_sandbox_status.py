"""PodSandboxStatus and the list entry: from these alone the kubelet decides whether a pod must be made anew."""

from __future__ import annotations

import ipaddress
import json

import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import Pods


def test_metadata_labels_and_annotations_come_back_unaltered(pods: Pods, client: Client) -> None:
    """proto: returned as they were given. kubelet: after its restart it knows its pods by nothing else."""
    config = pods.config(labels={"io.kubernetes.pod.uid": "u", "empty": "", "ünï": "çödé"})
    config.annotations["long"] = "x" * 20_000
    config.annotations["json"] = '{"a": [1, 2]}\n'
    pod = pods.run(config)
    status = client.pod_status(pod.id)
    [entry] = [one for one in client.pods() if one.id == pod.id]
    for shown in (status, entry):
        assert shown.id == pod.id
        assert shown.metadata == config.metadata
        assert dict(shown.labels) == dict(config.labels)
        assert dict(shown.annotations) == dict(config.annotations)
    assert (entry.state, entry.created_at) == (status.state, status.created_at)


def test_the_address_is_the_one_that_containers_have(pods: Pods, client: Client) -> None:
    """kubelet: pod IPs come only from here; an empty one means that the sandbox must be made anew."""
    pod = pods.run()
    network = client.pod_status(pod.id).network
    address = ipaddress.ip_address(network.ip)
    for extra in network.additional_ips:
        ipaddress.ip_address(extra.ip)
    lines = pods.output("ip", "-o", "addr", "show", "eth0", pod=pod)
    assert any(f" {address}/" in line for line in lines)


def test_two_pods_have_two_addresses(pods: Pods, client: Client) -> None:
    first, second = pods.run(), pods.run()
    assert client.pod_status(first.id).network.ip != client.pod_status(second.id).network.ip


def test_a_pod_on_the_hosts_network_has_no_address_of_its_own(pods: Pods, client: Client) -> None:
    """proto: ip is empty with the host's network; the kubelet fills in the node's."""
    pod = pods.run(pods.config(host_network=True))
    assert client.pod_status(pod.id).network.ip == ""


@pytest.mark.parametrize("pid", [pb.NamespaceMode.CONTAINER, pb.NamespaceMode.POD, pb.NamespaceMode.NODE])
@pytest.mark.parametrize("network", [pb.NamespaceMode.POD, pb.NamespaceMode.NODE])
def test_namespace_options_come_back(
    pods: Pods, client: Client, network: pb.NamespaceMode.ValueType, pid: pb.NamespaceMode.ValueType
) -> None:
    """kubelet: it compares linux.namespaces.options.network with what it wants, and recreates on a difference."""
    config = pods.config(host_network=network == pb.NamespaceMode.NODE)
    config.linux.security_context.namespace_options.pid = pid
    pod = pods.run(config)
    options = client.pod_status(pod.id).linux.namespaces.options
    assert (options.network, options.pid, options.ipc) == (network, pid, pb.NamespaceMode.POD)


def test_only_a_verbose_status_has_information(pods: Pods, client: Client) -> None:
    """proto: info only with verbose. crictl: values that begin like JSON must be JSON."""
    pod = pods.run()
    request = pb.PodSandboxStatusRequest(pod_sandbox_id=pod.id)
    assert not client.runtime.PodSandboxStatus(request, timeout=10).info
    request.verbose = True
    info = client.runtime.PodSandboxStatus(request, timeout=10).info
    assert isinstance(json.loads(info["info"]), dict)


def test_the_status_holds_the_containers_and_its_time(pods: Pods, client: Client) -> None:
    """proto: for the evented PLEG, the statuses of all containers at one moment; time 0 says "no such support"."""
    pod = pods.run()
    container = pods.start(pod)
    answer = client.runtime.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=pod.id), timeout=10)
    assert answer.timestamp > 0
    assert [status.id for status in answer.containers_statuses] == [container.id]
    assert answer.containers_statuses[0] == client.status(container.id)


def test_the_runtime_handler_is_shown(pods: Pods, client: Client) -> None:
    """proto: the handler as it was asked for; empty for the default."""
    pod = pods.run()
    assert client.pod_status(pod.id).runtime_handler == ""
    assert [one.runtime_handler for one in client.pods() if one.id == pod.id] == [""]
