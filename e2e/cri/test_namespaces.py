"""Namespaces: what the containers of a pod share, and what they do not."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import Pods, security
from e2e.pods import Container, Pod, failure

CONTAINER, POD, NODE, TARGET = (
    pb.NamespaceMode.CONTAINER, pb.NamespaceMode.POD, pb.NamespaceMode.NODE, pb.NamespaceMode.TARGET
)  # fmt: skip


def options(**modes: Any) -> pb.LinuxContainerSecurityContext:
    return security(namespace_options=pb.NamespaceOption(**modes))


def namespace(client: Client, container: Container, kind: str) -> str:
    return client.exec(container.id, "readlink", f"/proc/self/ns/{kind}").stdout.decode().strip()


def run(pods: Pods, **modes: Any) -> Pod:
    config = pods.config()
    for name, mode in modes.items():  # one by one: POD is 0, which a merge would not copy
        setattr(config.linux.security_context.namespace_options, name, mode)
    return pods.run(config)


def test_containers_of_a_pod_share_network_ipc_and_uts(pods: Pods, client: Client) -> None:
    pod = pods.run()
    one, two = pods.start(pod, name="one"), pods.start(pod, name="two")
    for kind in ("net", "ipc", "uts"):
        assert namespace(client, one, kind) == namespace(client, two, kind) != os.readlink(f"/proc/self/ns/{kind}")
    for kind in ("pid", "mnt"):
        assert namespace(client, one, kind) != namespace(client, two, kind)


def test_shared_memory_is_the_pods(pods: Pods, client: Client) -> None:
    pod = pods.run()
    one, two = pods.start(pod, name="one"), pods.start(pod, name="two")
    client.exec(one.id, "sh", "-c", "echo hello > /dev/shm/note")
    assert client.exec(two.id, "cat", "/dev/shm/note").stdout == b"hello\n"


def test_a_container_is_pid_1_of_its_own(pods: Pods) -> None:
    """proto: CONTAINER isolates processes; the kubelet asks for it unless shareProcessNamespace is set."""
    pod = pods.run()
    pods.start(pod, name="other")
    assert len(pods.output("ps", "-o", "pid", pod=pod)) == 2


def test_a_shared_pid_namespace_is_the_pods_and_has_an_init(pods: Pods, client: Client) -> None:
    """proto: POD is one PID namespace; PID 1 is not a workload (critest), so its end does not end the others."""
    pod = run(pods, pid=POD)
    one = pods.start(pod, name="one", security=options(pid=POD))
    two = pods.start(pod, name="two", security=options(pid=POD))
    assert namespace(client, one, "pid") == namespace(client, two, "pid") != os.readlink("/proc/self/ns/pid")
    assert client.exec(one.id, "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline").stdout.find(b"trap") < 0
    assert b"trap" in client.exec(one.id, "ps", "-o", "args").stdout
    client.stop(one.id, timeout=5)
    assert client.exec(two.id, "true").exit_code == 0


def test_the_init_of_a_shared_pid_namespace_reaps(pods: Pods, client: Client) -> None:
    """Orphans become children of PID 1; nobody else would collect them."""
    pod = run(pods, pid=POD)
    container = pods.start(pod, security=options(pid=POD))
    client.exec(container.id, "sh", "-c", "(sleep 0.1 &)")
    client.exec(container.id, "sleep", "0.5")
    assert b"Z" not in client.exec(container.id, "ps", "-o", "stat").stdout.split(b"STAT", 1)[1]


def test_the_hosts_pid_namespace(pods: Pods, client: Client) -> None:
    """proto: NODE."""
    pod = run(pods, pid=NODE)
    container = pods.start(pod, security=options(pid=NODE))
    assert namespace(client, container, "pid") == os.readlink("/proc/self/ns/pid")


def test_the_hosts_ipc_namespace(pods: Pods, client: Client) -> None:
    pod = run(pods, ipc=NODE)
    container = pods.start(pod, security=options(ipc=NODE, pid=CONTAINER))
    assert namespace(client, container, "ipc") == os.readlink("/proc/self/ns/ipc")


def test_the_hosts_network(pods: Pods, client: Client) -> None:
    pod = pods.run(pods.config(host_network=True))
    container = pods.start(pod, security=options(network=NODE, pid=CONTAINER))
    assert namespace(client, container, "net") == os.readlink("/proc/self/ns/net")
    assert client.exec(container.id, "hostname").stdout.decode().strip() == socket.gethostname()


def test_a_target_shares_the_other_containers_processes(pods: Pods, client: Client) -> None:
    """proto: TARGET, for ephemeral containers (`kubectl debug --target`)."""
    pod = pods.run()
    target = pods.start(pod, name="target")
    debugger = pods.start(pod, name="debug", security=options(pid=TARGET, target_id=target.id))
    assert namespace(client, debugger, "pid") == namespace(client, target, "pid")


def test_a_target_must_run_in_the_same_pod(pods: Pods) -> None:
    pod, other = pods.run(), pods.run()
    stranger = pods.start(other)
    failure(lambda: pods.start(pod, security=options(pid=TARGET, target_id=stranger.id)))
    failure(lambda: pods.start(pod, name="none", security=options(pid=TARGET, target_id="f" * 64)))


def test_the_hostname_is_the_pods(pods: Pods) -> None:
    config = pods.config()
    config.hostname = "a-name"
    pod = pods.run(config)
    assert pods.output("sh", "-c", "hostname; cat /etc/hostname", pod=pod) == ["a-name", "a-name"]


@pytest.mark.parametrize("host_network", [False, True])
def test_dns_is_the_pods(pods: Pods, host_network: bool) -> None:
    """kubelet: every pod gets a dns_config, those on the host's network too (ClusterFirstWithHostNet)."""
    config = pods.config(host_network=host_network)
    config.dns_config.CopyFrom(pb.DNSConfig(servers=["10.9.8.7"], searches=["a.example", "b"], options=["ndots:5"]))
    lines = pods.output("cat", "/etc/resolv.conf", pod=pods.run(config))
    assert [line.strip() for line in lines if line.strip()] == [
        "search a.example b", "nameserver 10.9.8.7", "options ndots:5",
    ]  # fmt: skip


def test_sysctls_of_the_pod(pods: Pods, client: Client) -> None:
    config = pods.config()
    config.linux.sysctls.update({"kernel.shm_rmid_forced": "1", "net.ipv4.ip_unprivileged_port_start": "80"})
    pod = pods.run(config)
    files = ("/proc/sys/kernel/shm_rmid_forced", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    assert pods.output("cat", *files, pod=pod) == ["1", "80"]


def test_a_sysctl_of_the_whole_node_is_refused(pods: Pods) -> None:
    """A pod must not set what has no namespace."""
    config = pods.config()
    config.linux.sysctls["kernel.panic_on_oops"] = "1"
    failure(lambda: pods.run(config))
