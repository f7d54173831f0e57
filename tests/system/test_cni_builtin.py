"""The built-in network, for real: pods talk, host ports lead to them, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cni.builtin import nftables, portmap, rtnetlink, ruleset
from cni.builtin.bridge import host_link_name
from cni.builtin.netlink import NetlinkSocket
from cni.errors import CheckFailed, ConfigError, InvalidAttachment, NetworkNotReady, PortConflict
from cni.network import Networks
from cni.values import Attachment, Bandwidth, BuiltinNetwork, BuiltinSubnet, NetworkSettings, PortMapping, Protocol
from tests import netns
from tests.netns import HOST_IPV4, HOST_IPV6, OUTSIDE_IPV4, Bench, Namespace, tcp_says, udp_says

BRIDGE = "netbr0"
DUAL = (BuiltinSubnet(subnet="10.86.0.0/16"), BuiltinSubnet(subnet="fd00:86::/64"))


def settings(directory: Path, **changes: object) -> NetworkSettings:
    data_dir = str(directory / "networks")
    builtin = BuiltinNetwork(bridge=BRIDGE, subnets=DUAL, data_dir=data_dir, **changes)  # type: ignore[arg-type]
    conf_dir, cache_dir = str(directory / "net.d"), str(directory / "cache")
    return NetworkSettings(conf_dir=conf_dir, bin_dirs=(str(directory / "bin"),), cache_dir=cache_dir, builtin=builtin)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with netns.bench() as made:
        yield made


@pytest.fixture
async def networks(bench: Bench, tmp_path: Path) -> AsyncIterator[Networks]:
    opened = await Networks.open(settings(tmp_path))
    yield opened
    await opened.close()


def attachment(pod: Namespace, number: int = 1, *ports: PortMapping) -> Attachment:
    return Attachment(sandbox_id=f"{number:064x}", netns_path=pod.path, pod_name=f"pod{number}", port_mappings=ports)


def rules() -> list[portmap.Placed]:
    opened = NetlinkSocket(nftables.NETLINK_NETFILTER)
    try:
        return portmap.dump(opened, ruleset.table_name(BRIDGE))
    finally:
        opened.close()


def held(directory: Path) -> set[str]:
    return {p.name for p in (directory / "networks" / "coracle").iterdir() if "." in p.name or ":" in p.name} - {
        "last_reserved_ip.0",
        "last_reserved_ip.1",
    }


async def test_pods_reach_each_other_the_host_and_the_outside(networks: Networks, bench: Bench) -> None:
    one, two = bench.pod(), bench.pod()
    first = await networks.add(attachment(one, 1))
    second = await networks.add(attachment(two, 2))
    assert (first.ips, second.ips) == (("10.86.0.2", "fd00:86::2"), ("10.86.0.3", "fd00:86::3"))
    assert one.addresses("eth0") == {"10.86.0.2/16", "fd00:86::2/64"}
    assert one.links()["lo"].up
    for ip in second.ips:
        assert tcp_says(two, 80, one, (ip, 80)) in first.ips
        assert tcp_says(two, 80, bench.host, (ip, 80))
    assert tcp_says(bench.host, 81, one, ("10.86.0.1", 81)) == "10.86.0.2"
    assert tcp_says(bench.outside, 82, one, (OUTSIDE_IPV4, 82)) == HOST_IPV4  # masqueraded
    assert tcp_says(bench.outside, 82, one, (netns.OUTSIDE_IPV6, 82)) == HOST_IPV6


async def test_delete_disconnects_at_once_and_leaves_nothing(networks: Networks, bench: Bench, tmp_path: Path) -> None:
    pod = bench.pod()
    given = attachment(pod, 1, PortMapping(container_port=80, host_port=8080))
    result = await networks.add(given)
    assert rules()
    await networks.delete(given)
    await networks.delete(given)
    assert rules() == []
    assert held(tmp_path) == set()
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(OSError, match=r".*"):
        tcp_says(pod, 80, bench.host, (result.ips[0], 80))
    await networks.close()
    assert set(bench.host.links()) == {"lo", netns.UPLINK, BRIDGE}
    assert "eth0" not in pod.links()


async def test_an_address_is_usable_again_after_delete(networks: Networks, bench: Bench) -> None:
    pod = bench.pod()
    await networks.add(attachment(pod, 1))
    await networks.delete(attachment(pod, 1))
    again = await networks.add(attachment(bench.pod(), 1))  # the same id: its old link is still there
    assert again.ips[0] == "10.86.0.3"
    await networks.check(attachment(pod, 1))


@pytest.mark.parametrize("address", ["127.0.0.1", HOST_IPV4, HOST_IPV6, "10.86.0.1"])
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
async def test_host_ports_from_the_host(networks: Networks, bench: Bench, address: str, protocol: Protocol) -> None:
    pod = bench.pod()
    await networks.add(attachment(pod, 1, PortMapping(container_port=80, host_port=8080, protocol=protocol)))
    says = tcp_says if protocol is Protocol.TCP else udp_says
    assert says(pod, 80, bench.host, (address, 8080))


@pytest.mark.parametrize("address", [HOST_IPV4, HOST_IPV6])
async def test_host_ports_from_outside_keep_the_callers_address(networks: Networks, bench: Bench, address: str) -> None:
    pod = bench.pod()
    ports = [PortMapping(container_port=80, host_port=8080, protocol=p) for p in (Protocol.TCP, Protocol.UDP)]
    await networks.add(attachment(pod, 1, *ports))
    assert tcp_says(pod, 80, bench.outside, (address, 8080)) in (OUTSIDE_IPV4, netns.OUTSIDE_IPV6)
    assert udp_says(pod, 80, bench.outside, (address, 8080)) in (OUTSIDE_IPV4, netns.OUTSIDE_IPV6)


async def test_host_ports_from_pods(networks: Networks, bench: Bench) -> None:
    """Through the host's address: from a neighbour, and from the pod itself."""
    pod, neighbour = bench.pod(), bench.pod()
    await networks.add(attachment(pod, 1, PortMapping(container_port=80, host_port=8080)))
    await networks.add(attachment(neighbour, 2))
    for address in (HOST_IPV4, HOST_IPV6):
        assert tcp_says(pod, 80, neighbour, (address, 8080))
        assert tcp_says(pod, 80, pod, (address, 8080))


async def test_sctp_host_ports(networks: Networks, bench: Bench) -> None:
    pod = bench.pod()
    await networks.add(
        attachment(pod, 1, PortMapping(container_port=80, host_port=8080, protocol=Protocol.SCTP, host_ip=HOST_IPV4))
    )
    assert [(name, element.key[4]) for name, element in rules()] == [("ports4_at", socket.IPPROTO_SCTP)]
    raw = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)  # works without SCTP sockets in the kernel
    with pod.socket(*raw) as receiver, bench.outside.socket(*raw) as sender:
        sender.sendto(_sctp_init(8080), (HOST_IPV4, 0))
        arrived = receiver.recv(256)
    assert socket.inet_ntoa(arrived[12:16]) == OUTSIDE_IPV4
    assert arrived[20:24] == (1234).to_bytes(2, "big") + (80).to_bytes(2, "big")


def _sctp_init(port: int) -> bytes:
    """An INIT chunk in a packet with a right CRC-32C: connection tracking accepts nothing less."""
    chunk = bytes([1, 0, 0, 20]) + b"\0\0\0\1" + (65536).to_bytes(4, "big") + b"\0\1\0\1" + b"\0\0\0\1"
    header = (1234).to_bytes(2, "big") + port.to_bytes(2, "big") + bytes(4)
    crc = 0xFFFF_FFFF
    for byte in header + bytes(4) + chunk:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F6_3B78 if crc & 1 else 0)
    return header + (crc ^ 0xFFFF_FFFF).to_bytes(4, "little") + chunk


async def test_a_host_address_limits_a_host_port(networks: Networks, bench: Bench) -> None:
    one, two = bench.pod(), bench.pod()
    await networks.add(attachment(one, 1, PortMapping(container_port=80, host_port=8080, host_ip="127.0.0.1")))
    await networks.add(attachment(two, 2, PortMapping(container_port=80, host_port=8080, host_ip=HOST_IPV4)))
    assert tcp_says(one, 80, bench.host, ("127.0.0.1", 8080))
    assert tcp_says(two, 80, bench.outside, (HOST_IPV4, 8080))


async def test_a_taken_host_port_is_refused_and_all_undone(networks: Networks, bench: Bench, tmp_path: Path) -> None:
    one, two = bench.pod(), bench.pod()
    await networks.add(attachment(one, 1, PortMapping(container_port=80, host_port=8080)))
    before = held(tmp_path)
    wanted = (PortMapping(container_port=81, host_port=8081), PortMapping(container_port=81, host_port=8080))
    with pytest.raises(PortConflict, match=r"host port tcp \*:8080 is already taken by sandbox 0+1"):
        await networks.add(attachment(two, 2, *wanted))
    assert held(tmp_path) == before
    assert {element.key[-4:-2] for _, element in rules()} == {(8080).to_bytes(2, "big")}
    assert "eth0" not in two.links()
    await networks.delete(attachment(one, 1))
    await networks.add(attachment(two, 2, *wanted))


async def test_a_host_port_moves_to_the_next_pod_for_udp_clients(networks: Networks, bench: Bench) -> None:
    """The client keeps its source port, so without forgetting the flow its datagrams would go to the dead pod."""
    mapping = PortMapping(container_port=53, host_port=5353, protocol=Protocol.UDP)
    with bench.outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.bind(("", 40000))
        caller.connect((HOST_IPV4, 5353))
        with suppress(ConnectionRefusedError):
            caller.send(b"too early")
            caller.recv(16)
        for number in (1, 2):
            pod = bench.pod()
            await networks.add(attachment(pod, number, mapping))
            with pod.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
                listener.bind(("", 53))
                caller.send(b"ping")
                data, peer = listener.recvfrom(16)
                listener.sendto(b"pong", peer)
                assert (data, caller.recv(16)) == (b"ping", b"pong")
            await networks.delete(attachment(pod, number, mapping))


async def test_pods_cannot_reach_what_listens_on_the_hosts_loopback(networks: Networks, bench: Bench) -> None:
    """route_localnet alone would let a pod send to 127.0.0.1 through the bridge (CVE-2020-8558)."""
    pod = bench.pod()
    await networks.add(attachment(pod, 1))
    with bench.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", 9999))
        service.settimeout(0.3)
        bridge_mac = bytes.fromhex(bench.host.links()[BRIDGE].mac.replace(":", ""))
        with pod.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0))
            wire.send(bridge_mac + bytes.fromhex("0a580a560002") + b"\x08\x00" + _datagram())
        with pytest.raises(TimeoutError):
            service.recv(16)


def _datagram() -> bytes:
    """10.86.0.2:1234 -> 127.0.0.1:9999, no UDP checksum."""
    udp = (1234).to_bytes(2, "big") + (9999).to_bytes(2, "big") + (9).to_bytes(2, "big") + b"\0\0x"
    header = bytes([0x45, 0]) + (20 + len(udp)).to_bytes(2, "big") + bytes([0, 0, 0, 0, 64, 17, 0, 0])
    header += socket.inet_aton("10.86.0.2") + socket.inet_aton("127.0.0.1")
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return header[:10] + checksum.to_bytes(2, "big") + header[12:] + udp


async def test_delete_works_without_namespace_and_without_record(
    networks: Networks, bench: Bench, tmp_path: Path
) -> None:
    for number, forget in ((1, False), (2, True)):
        with netns.new_namespace() as pod:
            given = attachment(pod, number, PortMapping(container_port=80, host_port=8080))
            await networks.add(given)
        if forget:
            for file in (tmp_path / "cache").iterdir():
                file.unlink()
        await networks.delete(Attachment(sandbox_id=given.sandbox_id, netns_path="/run/netns/gone"))
        assert held(tmp_path) == set()
        assert rules() == []


async def test_a_restarted_daemon_finds_everything(bench: Bench, tmp_path: Path) -> None:
    pod = bench.pod()
    given = attachment(pod, 1, PortMapping(container_port=80, host_port=8080))
    first = await Networks.open(settings(tmp_path))
    result = await first.add(given)
    await first.close()
    second = await Networks.open(settings(tmp_path))
    try:
        await second.check(given)
        assert tcp_says(pod, 80, bench.host, ("127.0.0.1", 8080))
        other = await second.add(attachment(bench.pod(), 2))
        assert not set(other.ips) & set(result.ips)
        await second.delete(given)
        assert rules() == []
    finally:
        await second.close()


async def test_gc_releases_what_nobody_owns(networks: Networks, bench: Bench, tmp_path: Path) -> None:
    kept, lost = bench.pod(), bench.pod()
    keep = attachment(kept, 1, PortMapping(container_port=80, host_port=8080))
    await networks.add(keep)
    await networks.add(attachment(lost, 2, PortMapping(container_port=80, host_port=8081)))
    stray = tmp_path / "networks" / "coracle" / "10.86.9.9"  # of a pod whose namespace went with the last boot
    stray.write_text("dead\r\neth0")
    os.utime(stray, (0, 0))
    young = tmp_path / "networks" / "coracle" / "10.86.9.10"  # of another daemon's add under way
    young.write_text("other\r\neth0")
    emptied = tmp_path / "networks" / "coracle" / "10.86.9.11"  # by a power cut, before the clock was set back
    emptied.touch()
    os.utime(emptied, (0, time.time() + 3600))
    await networks.gc([keep])
    assert held(tmp_path) == {"10.86.0.2", "fd00:86::2", "10.86.9.10"}
    assert {element.key[-4:-2] for _, element in rules()} == {(8080).to_bytes(2, "big")}
    assert host_link_name(attachment(lost, 2).sandbox_id, "eth0") not in bench.host.links()
    await networks.check(keep)


async def test_a_flushed_ruleset_and_a_deleted_bridge_are_repaired(networks: Networks, bench: Bench) -> None:
    pod = bench.pod()
    given = attachment(pod, 1, PortMapping(container_port=80, host_port=8080))
    await networks.add(given)
    opened = NetlinkSocket(nftables.NETLINK_NETFILTER)
    opened.transact(nftables.batch([nftables.delete_table(ruleset.table_name(BRIDGE))]))
    opened.close()
    with pytest.raises(CheckFailed, match="host port"):
        await networks.check(given)
    await networks.add(attachment(bench.pod(), 2))
    await networks.check(given)
    assert tcp_says(pod, 80, bench.host, ("127.0.0.1", 8080))
    links = NetlinkSocket(socket.NETLINK_ROUTE)
    links.transact([rtnetlink.delete_link(BRIDGE)])
    links.close()
    with pytest.raises(CheckFailed, match=f"bridge {BRIDGE} is gone"):
        await networks.check(given)
    await networks.add(attachment(bench.pod(), 3))
    await networks.check(given)
    assert tcp_says(pod, 80, pod, (HOST_IPV4, 8080))


async def test_after_a_reboot_nothing_of_the_dead_comes_back(bench: Bench, tmp_path: Path) -> None:
    """Records and address files are there, links and rules are not: the port and, after gc, the address are free."""
    given = attachment(bench.pod(), 1, PortMapping(container_port=80, host_port=8080))
    before = await Networks.open(settings(tmp_path))
    await before.add(given)
    await before.close()
    with netns.bench():
        after = await Networks.open(settings(tmp_path))
        assert rules() == []
        await after.gc([])
        assert held(tmp_path) == set()
        await after.close()


async def test_an_abandoned_add_is_undone(networks: Networks, bench: Bench, tmp_path: Path) -> None:
    pod = bench.pod()
    adding = asyncio.create_task(networks.add(attachment(pod, 1, PortMapping(container_port=80, host_port=8080))))
    await asyncio.sleep(0)  # now the worker thread has it
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    again = await networks.add(attachment(bench.pod(), 1))  # the same id: the undoing must not meet this one
    await networks.check(attachment(bench.pod(), 1))
    assert held(tmp_path) == set(again.ips)
    assert rules() == []


async def test_many_pods_at_once(networks: Networks, bench: Bench, tmp_path: Path) -> None:
    given = [attachment(bench.pod(), n, PortMapping(container_port=80, host_port=8000 + n)) for n in range(12)]
    results = await asyncio.gather(*(networks.add(one) for one in given), networks.gc([]))
    assert len({ip for result in results[:-1] if result for ip in result.ips}) == 24
    await asyncio.gather(*(networks.check(one) for one in given))
    await asyncio.gather(*(networks.delete(one) for one in given))
    assert (held(tmp_path), rules()) == (set(), [])


async def test_check_names_what_is_wrong(networks: Networks, bench: Bench, tmp_path: Path) -> None:
    pod = bench.pod()
    given = attachment(pod, 1)
    with pytest.raises(CheckFailed, match="not attached"):
        await networks.check(given)
    await networks.add(given)
    (tmp_path / "networks" / "coracle" / "10.86.0.2").unlink()
    with pytest.raises(CheckFailed, match=r"address 10\.86\.0\.2 is not reserved"):
        await networks.check(given)


async def test_bad_attachments_are_the_callers_fault(networks: Networks, bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(InvalidAttachment, match=r"network namespace: /run/netns/none: No such file"):
        await networks.add(Attachment(sandbox_id="a", netns_path="/run/netns/none"))
    plain = tmp_path / "plain"
    plain.touch()
    with pytest.raises(InvalidAttachment, match="network namespace"):
        await networks.add(Attachment(sandbox_id="a", netns_path=str(plain)))
    assert held(tmp_path) == set()


async def test_a_subnet_that_the_host_uses_is_refused(bench: Bench, tmp_path: Path) -> None:
    wanted = settings(tmp_path)
    assert wanted.builtin is not None
    overlapping = BuiltinNetwork(bridge=BRIDGE, subnets=(BuiltinSubnet(subnet="192.0.0.0/16"),))
    opened = await Networks.open(
        NetworkSettings(conf_dir=wanted.conf_dir, bin_dirs=(), cache_dir=wanted.cache_dir, builtin=overlapping)
    )
    try:
        status = opened.status()
        assert (status.ready, status.reason) == (False, "NetworkPluginNotReady")
        assert f"192.0.0.0/16 overlaps 192.0.2.1/24 that interface {netns.UPLINK} has" in status.message
        with pytest.raises(ConfigError, match="overlaps"):
            await opened.add(attachment(bench.pod()))
    finally:
        await opened.close()


async def test_without_builtin_and_configuration_nothing_is_ready(bench: Bench, tmp_path: Path) -> None:
    opened = await Networks.open(
        NetworkSettings(conf_dir=str(tmp_path / "net.d"), bin_dirs=(), cache_dir=str(tmp_path / "c"), builtin=None)
    )
    try:
        with pytest.raises(NetworkNotReady, match=r"no network configuration in .*net\.d"):
            await opened.add(attachment(bench.pod()))
        pod = bench.pod()
        await opened.loopback_up(pod.path)
        assert pod.links()["lo"].up
    finally:
        await opened.close()


async def test_new_addresses_once_no_pod_has_an_old_one(networks: Networks, bench: Bench) -> None:
    told = (BuiltinSubnet(subnet="10.87.0.0/24"),)
    before, after = bench.pod(), bench.pod()
    given = attachment(before, 1)
    await networks.add(given)
    assert not await networks.move(told)
    assert "10.86.0.1/16" in bench.host.addresses(BRIDGE)
    await networks.delete(given)
    assert await networks.move(told)
    assert await networks.move(told)
    assert {one for one in bench.host.addresses(BRIDGE) if not one.startswith("fe80")} == {"10.87.0.1/24"}
    result = await networks.add(attachment(after, 2))
    assert result.ips == ("10.87.0.2",)
    assert tcp_says(after, 80, bench.host, (result.ips[0], 80))
    assert tcp_says(bench.outside, 82, after, (OUTSIDE_IPV4, 82)) == HOST_IPV4


async def test_a_range_of_the_host_is_refused_and_the_old_one_serves_on(networks: Networks, bench: Bench) -> None:
    with pytest.raises(ConfigError, match=f"interface {netns.UPLINK} has"):
        await networks.move((BuiltinSubnet(subnet="192.0.0.0/16"),))
    with pytest.raises(ConfigError, match="too small"):
        await networks.move((BuiltinSubnet(subnet="10.87.0.0/31"),))
    assert (await networks.add(attachment(bench.pod(), 1))).ips == ("10.86.0.2", "fd00:86::2")


async def test_bandwidth_is_limited_both_ways(networks: Networks, bench: Bench) -> None:
    """100 kB at a megabit and a half: what the bucket holds passes at once, the rest takes its time."""
    pod = bench.pod()
    limits = Bandwidth(ingress_rate=1_500_000, ingress_burst=1, egress_rate=1_500_000, egress_burst=1)
    result = await networks.add(replace(attachment(pod, 1), bandwidth=limits))
    for server, client, ip in ((pod, bench.host, result.ips[0]), (bench.host, pod, "10.86.0.1")):
        assert _seconds_for(100_000, server, client, ip) > 0.15  # never faster, however busy the machine


def _seconds_for(size: int, server: Namespace, client: Namespace, ip: str) -> float:
    with server.socket(socket.AF_INET, socket.SOCK_STREAM) as listening, ThreadPoolExecutor(1) as threads:
        listening.bind(("", 5001))
        listening.listen()
        listening.settimeout(10)

        def receive() -> int:
            connection, _ = listening.accept()
            with connection:
                return sum(iter(lambda: len(connection.recv(65536)), 0))

        began = time.monotonic()
        received = threads.submit(receive)
        with client.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.connect((ip, 5001))
            connection.sendall(bytes(size))
        assert received.result() == size
        return time.monotonic() - began
