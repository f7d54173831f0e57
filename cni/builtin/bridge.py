"""The bridge of the built-in network, and what a pod's link looks like. Owns names, MACs and the bridge's sysctls.

Everything that names a pod's link follows from the attachment alone, so delete() and gc() need no record to find it:
the host end is `veth` and 10 hexadecimal digits of a hash, the pod's MAC is 0a:58 and its IPv4 address (an address that
is given to another pod keeps its MAC, and no neighbour's ARP cache is ever wrong).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cni.builtin import rtnetlink
from cni.builtin.allocation import AddressRange, IPAddress
from cni.builtin.netlink import Message, NetlinkSocket
from cni.builtin.rtnetlink import Link
from cni.errors import NetlinkError
from cni.values import BuiltinNetwork

HOST_LINK_PREFIX: Final = "veth"
_EEXIST: Final = 17
_SYSCTL: Final = Path("/proc/sys/net")


def host_link_name(container_id: str, ifname: str) -> str:
    digest = hashlib.blake2b(f"{container_id}/{ifname}".encode(), digest_size=5)
    return f"{HOST_LINK_PREFIX}{digest.hexdigest()}"


def pod_mac(addresses: Sequence[IPAddress]) -> str:
    for address in addresses:
        if isinstance(address, ipaddress.IPv4Address):
            return (b"\x0a\x58" + address.packed).hex(":")
    return _hashed_mac(str(addresses[0]))


def bridge_mac(name: str, ranges: Sequence[AddressRange]) -> str:
    """Fixed: a bridge without a MAC of its own takes the lowest of its ports' and changes it as pods come and go."""
    return _hashed_mac("/".join([name, *(str(r.gateway) for r in ranges)]))


def _hashed_mac(seed: str) -> str:
    return (b"\x0a\x58" + hashlib.blake2b(seed.encode(), digest_size=4).digest()).hex(":")


def find_link(host: NetlinkSocket, name: str) -> Link | None:
    for body in host.query(rtnetlink.get_link(name)):
        return rtnetlink.parse_link(body)
    return None


def ensure_bridge(host: NetlinkSocket, settings: BuiltinNetwork, ranges: Sequence[AddressRange]) -> int:
    """Make the bridge as configured, or complete one that exists; returns its interface index."""
    name = settings.bridge
    host.transact([rtnetlink.make_bridge(name, bridge_mac(name, ranges), settings.mtu)])
    link = find_link(host, name)
    if link is None:
        raise NetlinkError(f"look up bridge {name}", 19)
    requests: list[Message] = [rtnetlink.set_up(name)]
    requests += [
        rtnetlink.add_address(link.index, name, source.gateway_interface, tolerate=(_EEXIST,)) for source in ranges
    ]
    if any(source.version == 6 for source in ranges):
        _write(f"ipv6/conf/{name}/disable_ipv6", "0")
        # Routed packets make the bridge ask for neighbours from its link-local address, which would be tentative, and
        # the pods unreachable, for two seconds after the first one came.
        _write(f"ipv6/conf/{name}/accept_dad", "0")
    host.transact(requests)
    _enable_forwarding(name, ranges)
    return link.index


def _enable_forwarding(bridge: str, ranges: Sequence[AddressRange]) -> None:
    """Routing for pods; route_localnet lets answers to 127.0.0.1 host ports back in (the ruleset keeps others out)."""
    if any(source.version == 4 for source in ranges):
        _write("ipv4/ip_forward", "1")
        _write(f"ipv4/conf/{bridge}/route_localnet", "1")
    if any(source.version == 6 for source in ranges):
        _write("ipv6/conf/all/forwarding", "1")


def _write(name: str, value: str) -> None:
    """Written only when it differs: /proc/sys may be read-only where the host has set everything up already."""
    path = _SYSCTL / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise NetlinkError(f"set {path} to {value}", error.errno or 0) from error


def pod_configuration(
    index: int, ifname: str, ranges: Sequence[AddressRange], addresses: Sequence[IPAddress]
) -> list[Message]:
    """What is done inside the pod's namespace, in one datagram: lo and the link up, addresses, default routes."""
    requests = [rtnetlink.set_loopback_up(), rtnetlink.set_up(ifname)]
    for source, address in zip(ranges, addresses, strict=True):
        requests.append(rtnetlink.add_address(index, ifname, source.interface(address)))
        requests.append(rtnetlink.add_default_route(index, ifname, source.gateway))
    return requests
