"""Host ports as map elements."""

from __future__ import annotations

import ipaddress

import pytest

from cni.builtin.portmap import place
from cni.errors import InvalidAttachment, PortConflict
from cni.values import PortMapping, Protocol

V4, V6 = ipaddress.ip_address("10.1.0.2"), ipaddress.ip_address("fd00::2")


def mapping(host_ip: str = "", protocol: Protocol = Protocol.TCP, container_port: int = 80) -> PortMapping:
    return PortMapping(container_port=container_port, host_port=8080, protocol=protocol, host_ip=host_ip)


@pytest.mark.parametrize(
    ("host_ip", "maps"),
    [
        ("", ["ports4", "ports6"]),
        ("0.0.0.0", ["ports4"]),
        ("::", ["ports6"]),
        ("127.0.0.1", ["ports4_at"]),
        ("2001:db8::1", ["ports6_at"]),
    ],
)
def test_the_host_address_chooses_the_map(host_ip: str, maps: list[str]) -> None:
    placed = place("ab/eth0", [mapping(host_ip)], [V4, V6])
    assert [name for name, _ in placed] == maps
    for name, element in placed:
        target = V6 if name.startswith("ports6") else V4
        assert element.data == target.packed + b"\x00\x50\0\0"
        assert element.key[-8:] == b"\x06\0\0\0\x1f\x90\0\0"
        assert element.key[:-8] == (ipaddress.ip_address(host_ip).packed if name.endswith("_at") else b"")
        assert element.comment == "ab/eth0"


def test_protocols_are_different_ports() -> None:
    placed = place("a", [mapping(protocol=protocol) for protocol in Protocol], [V4])
    assert [element.key[0] for _, element in placed] == [6, 17, 132]


def test_the_same_mapping_twice_is_one_and_two_targets_are_a_conflict() -> None:
    assert len(place("a", [mapping(), mapping()], [V4])) == 1
    assert len(place("a", [mapping(""), mapping("0.0.0.0")], [V4])) == 1
    with pytest.raises(PortConflict, match=r"host port tcp \*:8080 is already taken by the same pod"):
        place("a", [mapping(), mapping(container_port=81)], [V4])


def test_a_host_address_of_a_family_that_the_pod_lacks() -> None:
    with pytest.raises(InvalidAttachment, match=r"invalid host address: ::1 is of no address family"):
        place("a", [mapping("::1")], [V4])
