"""Every message that goes to the kernel, read back by pyroute2: an encoder that somebody else wrote must agree."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink import nftsocket
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from cni.builtin import nftables, rtnetlink, ruleset
from cni.builtin.allocation import plan_ranges
from cni.builtin.netlink import Message, attribute, attributes, encode, messages, nested, text
from cni.values import BuiltinSubnet


def decoded(message: Message, kind: Any) -> Any:
    read = kind(encode(message, 7))
    read.decode()
    assert read["header"]["type"] == message.kind
    assert read["header"]["sequence_number"] == 7
    return read


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40))))
def test_attributes_come_back(pairs: list[tuple[int, bytes]]) -> None:
    assert list(attributes(b"".join(attribute(kind, payload) for kind, payload in pairs))) == pairs


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_to_an_end(data: bytes) -> None:
    for _, payload in attributes(data):
        assert len(payload) <= len(data)
    list(messages(data))
    list(nftables.parse_elements([data]))


def test_a_veth_pair_in_one_message() -> None:
    message = rtnetlink.make_veth(
        host_name="vethx", bridge_index=7, mtu=1400, peer_name="eth0", peer_mac="0a:58:0a:58:00:02", netns_fd=9
    )
    read = decoded(message, ifinfmsg)
    assert (read.get_attr("IFLA_IFNAME"), read.get_attr("IFLA_MASTER"), read.get_attr("IFLA_MTU")) == ("vethx", 7, 1400)
    assert (read["flags"], read["change"]) == (1, 1)
    info = read.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert (peer.get_attr("IFLA_IFNAME"), peer.get_attr("IFLA_ADDRESS")) == ("eth0", "0a:58:0a:58:00:02")
    assert (peer.get_attr("IFLA_NET_NS_FD"), peer["flags"]) == (9, 0)


def test_a_bridge_and_its_ports() -> None:
    bridge = decoded(rtnetlink.make_bridge("br0", "0a:58:00:00:00:01", 1500), ifinfmsg)
    assert bridge.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND") == "bridge"
    assert bridge.get_attr("IFLA_ADDRESS") == "0a:58:00:00:00:01"
    gone = decoded(rtnetlink.detach("vethx"), ifinfmsg)
    assert (gone.get_attr("IFLA_MASTER"), gone["flags"], gone["change"]) == (0, 0, 1)
    port = decoded(rtnetlink.set_hairpin("vethx"), ifinfmsg).get_attr("IFLA_LINKINFO")
    assert port.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
    assert port.get_attr("IFLA_INFO_SLAVE_DATA").get_attr("IFLA_BRPORT_MODE") == 1


@pytest.mark.parametrize("given_", ["10.1.2.3/16", "fd00::3/64"])
def test_an_address_and_its_route(given_: str) -> None:
    interface = ipaddress.ip_interface(given_)
    address = decoded(rtnetlink.add_address(5, "eth0", interface), ifaddrmsg)
    assert (address["index"], address["prefixlen"]) == (5, interface.network.prefixlen)
    assert address.get_attr("IFA_LOCAL") == address.get_attr("IFA_ADDRESS") == str(interface.ip)
    assert address.get_attr("IFA_FLAGS") == (0x02 if interface.version == 6 else 0)
    assert address.get_attr("IFA_BROADCAST") == ("10.1.255.255" if interface.version == 4 else None)
    gateway = interface.network[1]
    route = decoded(rtnetlink.add_default_route(5, "eth0", gateway), rtmsg)
    assert (route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_OIF"), route["dst_len"]) == (str(gateway), 5, 0)
    assert (route["table"], route["type"]) == (254, 1)


def test_what_the_kernel_says_about_links_and_addresses() -> None:
    body = struct.pack("=BxHiII", 0, 1, 4, 0x1003, 0) + text(3, "eth0") + attribute(4, struct.pack("=I", 1500))
    body += attribute(1, bytes.fromhex("0a580a580002")) + attribute(10, struct.pack("=I", 3))
    link = rtnetlink.parse_link(body)
    assert (link.index, link.name, link.up, link.mtu, link.master) == (4, "eth0", True, 1500, 3)
    assert link.mac == "0a:58:0a:58:00:02"
    address = struct.pack("=BBBBI", 2, 16, 0, 0, 4) + attribute(2, bytes([10, 1, 0, 2]))
    assert list(rtnetlink.parse_addresses([address])) == [(4, ipaddress.ip_interface("10.1.0.2/16"))]


RANGES = plan_ranges("net", (BuiltinSubnet(subnet="10.1.0.0/16"), BuiltinSubnet(subnet="fd00::/64")))


def rules_of(masquerade: bool) -> list[list[tuple[str, Any]]]:
    requests = ruleset.build("br0", RANGES, masquerade=masquerade)
    rules = []
    for request in requests:
        if request.kind == nftables.NEWRULE:
            read = decoded(request, nftsocket.nft_rule_msg)
            expressions = read.get_attr("NFTA_RULE_EXPRESSIONS")
            rules.append([(e.get_attr("NFTA_EXPR_NAME"), e.get_attr("NFTA_EXPR_DATA")) for e in expressions])
    return rules


def test_the_rules_as_pyroute2_reads_them() -> None:
    rules = rules_of(True)
    ports = [rule for rule in rules if any(name == "nat" for name, _ in rule)]
    lookups = [data.get_attr("NFTA_LOOKUP_SET") for rule in ports for name, data in rule if name == "lookup"]
    assert lookups == ["ports4_at", "ports4", "ports6_at", "ports6"]
    nats = [data for rule in ports for name, data in rule if name == "nat"]
    assert {nat.get_attr("NFTA_NAT_TYPE") for nat in nats} == {"NFT_NAT_DNAT"}
    assert [nat.get_attr("NFTA_NAT_FAMILY") for nat in nats] == [2, 2, 10, 10]
    assert [nat.get_attr("NFTA_NAT_REG_PROTO_MIN") for nat in nats] == ["NFT_REG32_01"] * 2 + ["NFT_REG32_04"] * 2
    assert sum(name == "masq" for rule in rules for name, _ in rule) == 5


def test_without_masquerade_only_host_ports_are_masqueraded() -> None:
    assert sum(name == "masq" for rule in rules_of(False) for name, _ in rule) == 3


def test_elements_come_back_with_their_owner() -> None:
    element = nftables.Element(key=b"\x06\0\0\0\x1f\x90\0\0", data=bytes([10, 1, 0, 2]) + b"\0P\0\0", comment="ab/eth0")
    message = nftables.add_elements("add", "t", "ports4", [element])
    read = decoded(message, nftsocket.nft_set_elem_list_msg)
    (entry,) = read.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS")
    assert entry.get_attr("NFTA_SET_ELEM_KEY").get_attr("NFTA_DATA_VALUE") == element.key
    assert entry.get_attr("NFTA_SET_ELEM_USERDATA") == [("NFTNL_UDATA_SET_ELEM_COMMENT", b"ab/eth0")]
    assert list(nftables.parse_elements([message.body])) == [element]


def test_a_nested_attribute_is_marked() -> None:
    assert nested(2, attribute(1, b"x"))[2:4] == struct.pack("=H", 2 | 0x8000)
