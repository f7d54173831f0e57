"""Host ports of pods, as elements of the maps of `ruleset`. Owns the elements; the owner's name is their comment.

An element's key is the host port (and host address), so the kernel itself refuses to give one port to two pods, also
when two daemons share a bridge. A pod's elements come and go in one transaction.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Iterable, Sequence

from cni.builtin import nftables as nft
from cni.builtin import ruleset
from cni.builtin.allocation import IPAddress
from cni.builtin.conntrack import forget_flows
from cni.builtin.netlink import Message, NetlinkSocket
from cni.builtin.nftables import Element
from cni.errors import InvalidAttachment, NetlinkError, PortConflict
from cni.values import PortMapping, Protocol

Placed = tuple[str, Element]  # name of the map, element


def owner_name(container_id: str, ifname: str) -> str:
    return f"{container_id}/{ifname}"


def place(owner: str, mappings: Iterable[PortMapping], addresses: Sequence[IPAddress]) -> list[Placed]:
    """The elements that lead these host ports to the pod: one for each address family that mapping and pod share."""
    placed: dict[tuple[str, bytes], Placed] = {}
    for mapping in mappings:
        before = len(placed)
        for name, element in _elements(owner, mapping, addresses):
            other = placed.setdefault((name, element.key), (name, element))
            if other[1] != element:
                raise PortConflict(mapping.protocol.text, mapping.host_ip, mapping.host_port, "the same pod")
        if len(placed) == before and not any(_serves(mapping, address) for address in addresses):
            raise InvalidAttachment("host address", f"{mapping.host_ip} is of no address family that the pod has")
    return list(placed.values())


def _serves(mapping: PortMapping, address: IPAddress) -> bool:
    return not mapping.host_ip or ipaddress.ip_address(mapping.host_ip).version == address.version


def _elements(owner: str, mapping: PortMapping, addresses: Sequence[IPAddress]) -> Iterable[Placed]:
    host = ipaddress.ip_address(mapping.host_ip) if mapping.host_ip else None
    for address in addresses:
        if not _serves(mapping, address):
            continue
        chosen = host if host is not None and not host.is_unspecified else None
        key = (chosen.packed if chosen else b"") + bytes([mapping.protocol.value, 0, 0, 0]) + _port(mapping.host_port)
        data = address.packed + _port(mapping.container_port)
        name = ruleset.map_name(address.version, with_address=chosen is not None)
        yield name, Element(key=key, data=data, comment=owner)


def _port(number: int) -> bytes:
    return struct.pack(">HH", number, 0)


def install(host: NetlinkSocket, table: str, placed: Sequence[Placed]) -> None:
    """Add the elements, all or none; what the same owner left behind is replaced."""
    if not placed:
        return
    try:
        host.transact(nft.batch(_additions(table, placed)))
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        _replace(host, table, placed)
    forget_udp(host, placed)


def _additions(table: str, placed: Iterable[Placed]) -> list[Message]:
    return [nft.add_elements(f"add host port to {table}", table, name, [element]) for name, element in placed]


def _replace(host: NetlinkSocket, table: str, placed: Sequence[Placed]) -> None:
    present = {(name, element.key): element for name, element in dump(host, table)}
    stale: list[Placed] = []
    for name, element in placed:
        there = present.get((name, element.key))
        if there is None:
            continue
        if there.comment != element.comment:
            raise _conflict(name, element, there)
        stale.append((name, there))
    removals = [nft.delete_elements(table, name, [element.key]) for name, element in stale]
    host.transact(nft.batch([*removals, *_additions(table, placed)]))


def _conflict(name: str, element: Element, there: Element) -> PortConflict:
    protocol, port = _protocol_and_port(element)
    address = str(ipaddress.ip_address(element.key[:-8])) if name.endswith("_at") else ""
    return PortConflict(Protocol(protocol).text, address, port, f"sandbox {there.comment.partition('/')[0]}")


def _protocol_and_port(element: Element) -> tuple[int, int]:
    protocol, port = struct.unpack(">BxxxHxx", element.key[-8:])
    return protocol, port


def dump(host: NetlinkSocket, table: str) -> list[Placed]:
    """Every host port of the table; none when there is no such table."""
    found: list[Placed] = []
    for name in ruleset.MAPS:
        found += [(name, element) for element in nft.parse_elements(host.query(nft.dump_elements(table, name)))]
    return found


def remove(host: NetlinkSocket, table: str, placed: Sequence[Placed]) -> None:
    if not placed:
        return
    host.transact(nft.batch(nft.delete_elements(table, name, [element.key]) for name, element in placed))
    forget_udp(host, placed)


def owned(placed: Iterable[Placed], owner: str) -> list[Placed]:
    return [(name, element) for name, element in placed if element.comment == owner]


def forget_udp(host: NetlinkSocket, placed: Iterable[Placed]) -> None:
    """UDP flows outlive the pod they led to: without this, a busy client keeps talking to the address of a dead one."""
    ports = {
        (nft.IPV6 if name.startswith("ports6") else nft.IPV4, port)
        for name, element in placed
        for protocol, port in [_protocol_and_port(element)]
        if protocol == Protocol.UDP.value
    }
    host.transact([forget_flows(family, Protocol.UDP.value, port) for family, port in sorted(ports)])
