"""Plugin chains in real namespaces: fake plugins that fail, and the reference plugins where they are installed."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni.builtin.allocation import plan_ranges
from cni.builtin.host_local import HostLocal
from cni.chain import Verb, attachment_invocation
from cni.config import NetworkConfig, parse
from cni.errors import AddressesExhausted, PluginError, PluginFailed
from cni.execute import execute, find_plugin
from cni.network import Networks
from cni.result import parse as parse_result
from cni.values import Attachment, BuiltinSubnet, NetworkSettings, PortMapping, Protocol
from tests import netns
from tests.fake_plugins import FakePlugins, conflist, failing
from tests.netns import HOST_IPV4, Bench, Namespace, tcp_says, udp_says

REFERENCE_DIRS = ("/opt/cni/bin", "/usr/lib/cni")
needs_reference = pytest.mark.skipif(
    any(find_plugin(name, REFERENCE_DIRS) is None for name in ("bridge", "host-local", "portmap")),
    reason="needs the reference plugins (package containernetworking-plugins)",
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with netns.bench() as made:
        yield made


def attachment(pod: Namespace, number: int = 1, *ports: PortMapping) -> Attachment:
    return Attachment(sandbox_id=f"{number:064x}", netns_path=pod.path, pod_name=f"pod{number}", port_mappings=ports)


async def opened(tmp_path: Path, configuration: str, *bin_dirs: str) -> Networks:
    conf_dir = tmp_path / "net.d"
    conf_dir.mkdir()
    (conf_dir / "10-net.conflist").write_text(configuration)
    environment = dict(os.environ) | {"XTABLES_LOCKFILE": str(tmp_path / "xtables.lock")}
    settings = NetworkSettings(
        conf_dir=str(conf_dir), bin_dirs=bin_dirs, cache_dir=str(tmp_path / "cache"), timeout_seconds=20, builtin=None
    )
    return await Networks.open(settings, environment)


async def test_add_brings_lo_up_and_keeps_a_record(bench: Bench, tmp_path: Path) -> None:
    plugins = FakePlugins(tmp_path)
    plugins.add("one")
    networks = await opened(tmp_path, conflist("one"), str(plugins.bin))
    pod = bench.pod()
    result = await networks.add(attachment(pod, 1, PortMapping(container_port=80, host_port=8080)))
    assert result.ips == ("10.1.0.2",)
    assert pod.links()["lo"].up
    call = plugins.calls()[-1]
    assert call.stdin["runtimeConfig"] == {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
    assert "K8S_POD_NAME=pod1" in call.environment["CNI_ARGS"]
    await networks.check(attachment(pod))
    await networks.delete(attachment(pod))
    assert [verb for _, verb in plugins.verbs()] == ["STATUS", "ADD", "CHECK", "DEL"]
    assert list((tmp_path / "cache").iterdir()) == []
    await networks.close()


async def test_a_failing_add_is_undone_by_the_whole_chain(bench: Bench, tmp_path: Path) -> None:
    plugins = FakePlugins(tmp_path)
    plugins.add("one")
    plugins.add("two", ADD=failing("port 8080 is taken"))
    networks = await opened(tmp_path, conflist("one", "two", version="1.0.0"), str(plugins.bin))
    with pytest.raises(PluginError, match=r'plugin "two" failed \(ADD, code 11\): port 8080 is taken') as info:
        await networks.add(attachment(bench.pod()))
    assert not getattr(info.value, "__notes__", [])
    assert plugins.verbs() == [("one", "ADD"), ("two", "ADD"), ("two", "DEL"), ("one", "DEL")]
    assert list((tmp_path / "cache").iterdir()) == []
    plugins.add("two", ADD=failing("port 8080 is taken"), DEL=failing("stuck"))
    with pytest.raises(PluginError, match="port 8080 is taken") as info:
        await networks.add(attachment(bench.pod()))
    assert info.value.__notes__ == ['undoing it failed as well: plugin "two" failed (DEL, code 11): stuck']
    assert len(list((tmp_path / "cache").iterdir())) == 1  # a later delete() still knows the chain
    await networks.close()


async def test_a_hanging_add_ends_at_the_deadline_and_is_undone(bench: Bench, tmp_path: Path) -> None:
    plugins = FakePlugins(tmp_path)
    plugins.add("one", ADD="sleep 60")
    conf_dir = tmp_path / "net.d"
    conf_dir.mkdir()
    (conf_dir / "a.conflist").write_text(conflist("one", version="1.0.0"))
    cache_dir, bin_dirs = str(tmp_path / "cache"), (str(plugins.bin),)
    settings = NetworkSettings(conf_dir=str(conf_dir), bin_dirs=bin_dirs, cache_dir=cache_dir, timeout_seconds=1)
    networks = await Networks.open(settings)
    with pytest.raises(PluginFailed, match=r'plugin "one" failed \(ADD\): no answer within (1|0\.\d+) s'):
        await networks.add(attachment(bench.pod()))
    assert plugins.verbs() == [("one", "ADD"), ("one", "DEL")]
    await networks.close()


async def test_a_cancelled_add_is_undone_before_it_ends(bench: Bench, tmp_path: Path) -> None:
    plugins = FakePlugins(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    plugins.add("one", ADD=f"echo > {fifo}; sleep 60")
    networks = await opened(tmp_path, conflist("one", version="1.0.0"), str(plugins.bin))
    adding = asyncio.create_task(networks.add(attachment(bench.pod())))
    await asyncio.to_thread(fifo.read_text)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert plugins.verbs() == [("one", "ADD"), ("one", "DEL")]
    await networks.close()


def reference_conflist(tmp_path: Path) -> str:
    ipam = {
        "type": "host-local",
        "dataDir": str(tmp_path / "networks"),
        "ranges": [[{"subnet": "10.87.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "netref0", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    plugins = [bridge | {"ipam": ipam}, portmap]
    return json.dumps({"cniVersion": "1.0.0", "name": "reference", "plugins": plugins})


@needs_reference
async def test_the_reference_plugins_serve_pods(bench: Bench, tmp_path: Path) -> None:
    networks = await opened(tmp_path, reference_conflist(tmp_path), *REFERENCE_DIRS)
    assert networks.status().ready
    one, two = bench.pod(), bench.pod()
    ports = [PortMapping(container_port=80, host_port=8080, protocol=p) for p in (Protocol.TCP, Protocol.UDP)]
    first = await networks.add(attachment(one, 1, *ports))
    second = await networks.add(attachment(two, 2))
    assert (first.ips, second.ips) == (("10.87.0.2",), ("10.87.0.3",))
    assert tcp_says(one, 80, two, (first.ips[0], 80)) == second.ips[0]
    for address in ("127.0.0.1", HOST_IPV4):
        assert tcp_says(one, 80, bench.host, (address, 8080))
        assert udp_says(one, 80, bench.host, (address, 8080))
    await networks.check(attachment(two, 2))  # portmap 1.1.1 looks for IPv6 rules that it has not made for the first
    await networks.delete(attachment(one, 1))
    await networks.delete(attachment(one, 1))
    await networks.delete(Attachment(sandbox_id=attachment(two, 2).sandbox_id, netns_path="/run/netns/gone"))
    assert {path.name for path in (tmp_path / "networks" / "reference").iterdir()} == {"last_reserved_ip.0", "lock"}
    (tmp_path / "plain").touch()
    with pytest.raises(PluginError, match=r"unknown FS magic|failed to open netns"):
        await run_reference("bridge", bridge_config(tmp_path), Verb.ADD, "c", str(tmp_path / "plain"))
    await networks.close()


def bridge_config(tmp_path: Path) -> NetworkConfig:
    return parse("reference", reference_conflist(tmp_path))


async def run_reference(plugin: str, config: NetworkConfig, verb: Verb, container: str, netns_path: str) -> bytes:
    chosen = next(p for p in config.plugins if p.type == plugin)
    given = Attachment(sandbox_id=container, netns_path=netns_path)
    return await execute(
        attachment_invocation(config, chosen, verb, given, REFERENCE_DIRS, None), REFERENCE_DIRS, dict(os.environ), 20
    )


def ipam_config(data_dir: Path, start: str, end: str) -> NetworkConfig:
    ranges = [[{"subnet": "10.87.0.0/24", "rangeStart": start, "rangeEnd": end}]]
    ipam = {"type": "host-local", "dataDir": str(data_dir), "ranges": ranges}
    return parse("x", json.dumps({"cniVersion": "1.0.0", "name": "shared", "type": "host-local", "ipam": ipam}))


@needs_reference
async def test_our_host_local_and_the_reference_one_share_a_directory(tmp_path: Path) -> None:
    """Whoever is asked: no address twice, the same order, the same end, and each releases the other's."""
    config = ipam_config(tmp_path, "10.87.0.10", "10.87.0.15")
    subnet = BuiltinSubnet(subnet="10.87.0.0/24", range_start="10.87.0.10", range_end="10.87.0.15")
    ours = HostLocal(str(tmp_path), "shared", plan_ranges("shared", (subnet,)))

    async def theirs(verb: Verb, container: str) -> str:
        output = await run_reference("host-local", config, verb, container, "/proc/self/ns/net")
        return str(parse_result(json.loads(output)).addresses[0].address.ip) if verb is Verb.ADD else ""

    given = [await theirs(Verb.ADD, "a"), str(ours.allocate("b", "eth0")[0]), await theirs(Verb.ADD, "c")]
    given += [str(ours.allocate("d", "eth0")[0]), str(ours.allocate("e", "eth0")[0]), await theirs(Verb.ADD, "f")]
    assert given == [f"10.87.0.{number}" for number in range(10, 16)]
    with pytest.raises(AddressesExhausted, match=r"10\.87\.0\.10-10\.87\.0\.15"):
        ours.allocate("g", "eth0")
    with pytest.raises(PluginError, match="no IP addresses available"):
        await theirs(Verb.ADD, "g")
    assert [str(a) for a in ours.release("a", "eth0")] == ["10.87.0.10"]
    await theirs(Verb.DEL, "b")
    assert ours.owned_by("b", "eth0") == ()
    assert await theirs(Verb.ADD, "h") == "10.87.0.10"
    assert ours.allocate("i", "eth0") == (ipaddress.ip_address("10.87.0.11"),)
    assert {(h.container_id, h.ifname) for h in ours.holdings()} == {(name, "eth0") for name in "cdefhi"}
