"""Pod networking: the built-in bridge, host ports, the host's network, chains of real CNI plugins and failing ones."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e import debian
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames
from e2e.pods import Pod, refused, until
from e2e.processes import free_port
from tests.system.pods import Pods

SERVER = ("sh", "-c", "echo listening; while :; do nc -l -p 8000 -e cat /etc/hostname; done")


def answer_of(host: str, port: int) -> str:
    """What the server at host:port says; the empty text while nobody is there."""
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            return connection.makefile().read().strip()
    except OSError:
        return ""


def serve(pods: Pods, pod: Pod) -> None:
    pods.wait_for_line(pods.start(pod, *SERVER, name="server"), "listening")


def test_the_host_reaches_the_pod(pods: Pods) -> None:
    pod = pods.run()
    serve(pods, pod)
    address = pods.client.pod_status(pod.id).network.ip
    until(lambda: answer_of(address, 8000) == pod.config.hostname)


def test_pods_reach_each_other(pods: Pods) -> None:
    server, client = pods.run(), pods.run()
    serve(pods, server)
    address = pods.client.pod_status(server.id).network.ip
    script = f"for i in 1 2 3 4 5 6 7 8; do nc -w 2 {address} 8000 && exit 0; sleep 0.2; done; exit 1"
    assert pods.output("sh", "-c", script, pod=client) == [server.config.hostname]


@pytest.mark.parametrize("host_ip", ["", "127.0.0.1"])
def test_host_ports(pods: Pods, host_ip: str) -> None:
    port = free_port()
    mapping = pb.PortMapping(protocol=pb.Protocol.TCP, container_port=8000, host_port=port, host_ip=host_ip)
    pod = pods.run(pods.config(ports=[mapping]))
    serve(pods, pod)
    until(lambda: answer_of("127.0.0.1", port) == pod.config.hostname)
    pods.client.stop_pod(pod.id)
    assert answer_of("127.0.0.1", port) == ""


def test_a_pod_on_the_hosts_network(pods: Pods) -> None:
    pod = pods.run(pods.config(host_network=True))
    context = pb.LinuxContainerSecurityContext(
        namespace_options=pb.NamespaceOption(network=pb.NamespaceMode.NODE, pid=pb.NamespaceMode.CONTAINER)
    )
    names = pods.output("ls", "/sys/class/net", pod=pod, security=context)
    assert pods.daemon.settings.bridge in names or "lo" in names
    assert sorted(names) == sorted(path.name for path in Path("/sys/class/net").iterdir())
    assert pods.client.pod_status(pod.id).network.ip == ""


def test_every_pod_has_a_loopback_of_its_own(pods: Pods) -> None:
    assert pods.output("sh", "-c", "ip -o link show lo | grep -c LOWER_UP") == ["1"]


@pytest.fixture(scope="module")
def plugin_daemon(make_daemon: Callable[..., Daemon], images: ImageNames) -> Daemon:
    binaries = debian.tree("containernetworking-plugins") / "usr/lib/cni"
    daemon = make_daemon(flags=(f"--cni-bin-dir={binaries}",), network=conflist)
    daemon.client.pull(images.busybox)
    return daemon


def conflist(directory: Path) -> str:
    """Debian's bridge, host-local and portmap, with state below the daemon's directory."""
    bridge = {
        "type": "bridge",
        "bridge": "co-plug0",
        "isGateway": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(directory / "ipam"),
            "ranges": [[{"subnet": "10.127.249.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "1.0.0", "name": "plugs", "plugins": plugins})


@pytest.fixture
def plugin_pods(plugin_daemon: Daemon, images: ImageNames, tmp_path: Path) -> Iterator[Pods]:
    pods = Pods(plugin_daemon, images, logs=tmp_path, cgroup=plugin_daemon.settings.cgroup)
    yield pods
    pods.remove_all()
    subprocess.run(["ip", "link", "delete", "co-plug0"], check=False, capture_output=True)


def test_real_plugins_connect_a_pod(plugin_pods: Pods) -> None:
    pod = plugin_pods.run()
    serve(plugin_pods, pod)
    address = plugin_pods.client.pod_status(pod.id).network.ip
    assert address.startswith("10.127.249.")
    until(lambda: answer_of(address, 8000) == pod.config.hostname)
    leases = plugin_pods.daemon.settings.directory / "ipam" / "plugs"
    assert (leases / address).exists()
    plugin_pods.client.stop_pod(pod.id)
    assert not (leases / address).exists()


def test_a_failing_plugin_fails_the_pod_with_its_own_words_and_undoes_all(
    make_daemon: Callable[..., Daemon], images: ImageNames, tmp_path: Path
) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    calls = tmp_path / "calls"
    write_plugin(plugins / "good", f'echo "good $CNI_COMMAND" >> {calls}; [ $CNI_COMMAND != ADD ] || echo "$RESULT"')
    write_plugin(
        plugins / "bad",
        f'echo "bad $CNI_COMMAND" >> {calls}; [ $CNI_COMMAND != ADD ] || {{ echo "$FAILURE"; exit 1; }}',
    )
    network = json.dumps({"cniVersion": "1.0.0", "name": "broken", "plugins": [{"type": "good"}, {"type": "bad"}]})
    daemon = make_daemon(flags=(f"--cni-bin-dir={plugins}",), network=lambda directory: network)
    before = sorted(path.name for path in Path("/run/netns").iterdir())
    pods = Pods(daemon, images, logs=tmp_path / "logs", cgroup=daemon.settings.cgroup)
    message = refused(pods.run, grpc.StatusCode.UNKNOWN, "the switch is on fire")
    assert "bad" in message
    assert daemon.client.pods() == []
    assert sorted(path.name for path in Path("/run/netns").iterdir()) == before
    assert daemon.monitors() == ()
    done = calls.read_text().splitlines()
    assert done[:2] == ["good ADD", "bad ADD"]
    assert {"good DEL", "bad DEL"} <= set(done[2:])


def write_plugin(path: Path, body: str) -> None:
    result = '{"cniVersion":"1.0.0","interfaces":[],"ips":[{"address":"10.9.9.9/24"}]}'
    failure = '{"cniVersion":"1.0.0","code":100,"msg":"the switch is on fire","details":"row 3"}'
    path.write_text(f"#!/bin/sh\ncat > /dev/null\nRESULT='{result}'\nFAILURE='{failure}'\n{body}\n")
    path.chmod(0o755)
