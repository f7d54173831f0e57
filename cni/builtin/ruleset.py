"""The static nftables table of one bridge. Pure: settings in, messages out.

    table inet coracle-<bridge> {
        map ports4     { type inet_proto . inet_service : ipv4_addr . inet_service }
        map ports4_at  { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
        map ports6, ports6_at     the same for IPv6
        chain ports {             a mapping of one host address wins over one of every address
            meta nfproto ipv4  dnat to  ip daddr . meta l4proto . th dport  map @ports4_at
            meta nfproto ipv4  dnat to  meta l4proto . th dport  map @ports4
            ...                   }
        chain prerouting   { hook prerouting, dstnat;   fib daddr type local  jump ports }
        chain output       { hook output, dstnat;       fib daddr type local  jump ports }
        chain postrouting  { hook postrouting, srcnat;
            oifname <bridge>  ip saddr 127.0.0.0/8  masquerade                          a host port reached at 127.0.0.1
            oifname <bridge>  ip saddr <subnet>  ct status dnat  masquerade             a host port reached from a pod
            oifname != <bridge>  ip saddr <subnet>  ip daddr != <multicast>  masquerade
            ...                   }
        chain input        { hook input, filter;
            iifname <bridge>  ip daddr 127.0.0.0/8  not ct state established,related  drop }
    }

A pod costs nothing here; each of its host ports is one map element. The last chain takes back what route_localnet
would give away: without it, pods reach services that listen on the host's 127.0.0.1 only (CVE-2020-8558).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import Final

from cni.builtin import expressions as expr
from cni.builtin import nftables as nft
from cni.builtin.allocation import AddressRange, IPNetwork
from cni.builtin.expressions import REG1, REG32, Comparison, Meta
from cni.builtin.netlink import Message
from cni.builtin.nftables import Hook, Key

_RTN_LOCAL: Final = struct.pack("=I", 2)
_IPS_DST_NAT: Final = struct.pack("=I", 1 << 5)
_ESTABLISHED_OR_RELATED: Final = struct.pack("=I", 1 << 1 | 1 << 2)
_LOOPBACK: Final = ipaddress.IPv4Network("127.0.0.0/8")
_MULTICAST: Final = {4: ipaddress.ip_network("224.0.0.0/4"), 6: ipaddress.ip_network("ff00::/8")}
_DSTNAT: Final = -100
_SRCNAT: Final = 100
_FILTER: Final = 0
_PORTS: Final = "ports"


def table_name(bridge: str) -> str:
    return f"coracle-{bridge}"


def map_name(version: int, *, with_address: bool) -> str:
    return f"{_PORTS}{version}_at" if with_address else f"{_PORTS}{version}"


MAPS: Final = tuple(map_name(version, with_address=at) for version in (4, 6) for at in (False, True))


def build(bridge: str, ranges: Sequence[AddressRange], *, masquerade: bool) -> list[Message]:
    """The whole table, to be sent as one transaction."""
    table = table_name(bridge)
    requests = [nft.add_table(table), *_maps(table), nft.add_chain(table, _PORTS), *_port_rules(table)]
    for chain, hook in (("prerouting", Hook.PREROUTING), ("output", Hook.OUTPUT)):
        requests.append(nft.add_hook(table, chain, "nat", hook, _DSTNAT))
        requests.append(
            nft.add_rule(table, chain, expr.destination_type(), expr.compare(_RTN_LOCAL), expr.jump(_PORTS))
        )
    requests.append(nft.add_hook(table, "postrouting", "nat", Hook.POSTROUTING, _SRCNAT))
    requests += _source_rules(table, bridge, ranges, masquerade=masquerade)
    requests.append(nft.add_hook(table, "input", "filter", Hook.INPUT, _FILTER))
    requests.append(_guard_loopback(table, bridge))
    return requests


def _maps(table: str) -> list[Message]:
    maps: list[Message] = []
    for version, address, length in ((4, Key.IPV4_ADDRESS, 4), (6, Key.IPV6_ADDRESS, 16)):
        data = (nft.concatenated(address, Key.INET_SERVICE), length + 4)
        for with_address in (False, True):
            keys = (address,) if with_address else ()
            kind = nft.concatenated(*keys, Key.INET_PROTOCOL, Key.INET_SERVICE)
            size = 8 + (length if with_address else 0)
            name = map_name(version, with_address=with_address)
            maps.append(nft.add_map(table, name, len(maps) + version, (kind, size), data))
    return maps


def _port_rules(table: str) -> list[Message]:
    rules = []
    for version, offset, length in ((4, 16, 4), (6, 24, 16)):
        family = nft.IPV4 if version == 4 else nft.IPV6
        words = length // 4
        for with_address in (True, False):
            first = words if with_address else 0
            key = [expr.network_header(offset, length)] if with_address else []
            key += [expr.meta(Meta.L4PROTO, REG32 + first), expr.transport_header(2, 2, REG32 + first + 1)]
            name = map_name(version, with_address=with_address)
            translate = (expr.lookup(name, REG1, REG1), expr.destination_nat(family, REG1, REG32 + words))
            rules.append(nft.add_rule(table, _PORTS, *_of_family(version), *key, *translate))
    return rules


def _source_rules(table: str, bridge: str, ranges: Sequence[AddressRange], *, masquerade: bool) -> list[Message]:
    to_bridge = [expr.meta(Meta.OIFNAME), expr.compare(expr.name_bytes(bridge))]
    elsewhere = [expr.meta(Meta.OIFNAME), expr.compare(expr.name_bytes(bridge), Comparison.NEQ)]
    translated = [expr.connection_status(), expr.masked(_IPS_DST_NAT), expr.compare(bytes(4), Comparison.NEQ)]
    rules = [nft.add_rule(table, "postrouting", *to_bridge, *_source(_LOOPBACK), expr.masquerade())]
    for source in ranges:
        pods = _source(source.subnet)
        rules.append(nft.add_rule(table, "postrouting", *to_bridge, *pods, *translated, expr.masquerade()))
        if masquerade:
            unicast = _destination(_MULTICAST[source.version], Comparison.NEQ)
            rules.append(nft.add_rule(table, "postrouting", *elsewhere, *pods, *unicast, expr.masquerade()))
    return rules


def _guard_loopback(table: str, bridge: str) -> Message:
    from_bridge = [expr.meta(Meta.IIFNAME), expr.compare(expr.name_bytes(bridge))]
    unasked = [expr.connection_state(), expr.masked(_ESTABLISHED_OR_RELATED), expr.compare(bytes(4))]
    return nft.add_rule(table, "input", *from_bridge, *_destination(_LOOPBACK), *unasked, expr.drop())


def _of_family(version: int) -> list[bytes]:
    number = nft.IPV4 if version == 4 else nft.IPV6  # NFPROTO_IPV4 and NFPROTO_IPV6 have the numbers of AF_*
    return [expr.meta(Meta.NFPROTO), expr.compare(bytes([number]))]


def _source(network: IPNetwork) -> list[bytes]:
    return _address(network, 12 if network.version == 4 else 8, Comparison.EQ)


def _destination(network: IPNetwork, operator: Comparison = Comparison.EQ) -> list[bytes]:
    return _address(network, 16 if network.version == 4 else 24, operator)


def _address(network: IPNetwork, offset: int, operator: Comparison) -> list[bytes]:
    prefix = network.network_address.packed
    return [
        *_of_family(network.version),
        expr.network_header(offset, len(prefix)),
        expr.masked(network.netmask.packed),
        expr.compare(prefix, operator),
    ]
