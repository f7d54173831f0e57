"""Which address comes next: each once, none that is excluded, in host-local's order."""

from __future__ import annotations

import ipaddress
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.builtin.allocation import AddressRange, IPAddress, candidates, plan_ranges
from cni.errors import ConfigError
from cni.values import BuiltinSubnet


def planned(*subnets: BuiltinSubnet) -> tuple[AddressRange, ...]:
    return plan_ranges("net", subnets)


def make_address(packed: bytes) -> IPAddress:
    return ipaddress.ip_address(packed)


@st.composite
def small_ranges(draw: st.DrawFn) -> AddressRange:
    base, prefix = draw(st.sampled_from([("10.1.2.0", 28), ("10.1.2.0", 26), ("fd00::", 124), ("fd00::", 122)]))
    network = ipaddress.ip_network(f"{base}/{prefix}")
    hosts = [str(address) for address in network][1:-1]
    start, end = sorted(draw(st.tuples(st.sampled_from(hosts), st.sampled_from(hosts))), key=ipaddress.ip_address)
    blocks = draw(st.lists(st.sampled_from(hosts), max_size=3))
    width = draw(st.integers(0, 3))
    exclude = tuple(
        str(ipaddress.ip_network((b, network.max_prefixlen - width), strict=False)) for b in blocks
    )  # fmt: skip
    subnet = BuiltinSubnet(
        subnet=str(network),
        range_start=draw(st.sampled_from([start, ""])),
        range_end=draw(st.sampled_from([end, ""])),
        gateway=draw(st.sampled_from([*hosts, ""])),
        exclude=exclude,
    )
    return plan_ranges("net", (subnet,))[0]


@given(small_ranges(), st.data())
def test_every_allowed_address_comes_once_beginning_behind_the_last(source: AddressRange, data: st.DataObject) -> None:
    every = [make_address(address.packed) for address in source.subnet]
    last = data.draw(st.none() | st.sampled_from(every))
    found = list(candidates(source, last))
    allowed = [address for address in every if source.allows(address)]
    assert sorted(found, key=int) == allowed
    if last is not None and int(source.first) <= int(last) <= int(source.last):
        behind = [address for address in allowed if int(address) > int(last)]
        assert found == behind + [address for address in allowed if int(address) <= int(last)]
    else:
        assert found == allowed


def test_defaults_are_host_locals() -> None:
    v4, v6 = planned(BuiltinSubnet(subnet="10.1.0.0/16"), BuiltinSubnet(subnet="fd00::/64"))
    assert (str(v4), str(v4.gateway_interface)) == ("10.1.0.1-10.1.255.254", "10.1.0.1/16")
    assert (str(v6.first), str(v6.last)) == ("fd00::1", "fd00::ffff:ffff:ffff:ffff")
    assert str(next(candidates(v4, None))) == "10.1.0.2"  # the gateway is not given out


def test_huge_ranges_and_huge_exclusions_take_no_time() -> None:
    (v6,) = planned(BuiltinSubnet(subnet="fd00::/16", exclude=("fd00::/64", "fd00:0:0:1::/64")))
    assert [str(a) for a in islice(candidates(v6, None), 2)] == ["fd00:0:0:2::", "fd00:0:0:2::1"]


def test_a_last_address_of_elsewhere_is_ignored() -> None:
    (v4,) = planned(BuiltinSubnet(subnet="10.1.0.0/24"))
    for last in ("fd00::1", "10.2.0.9"):
        assert str(next(candidates(v4, ipaddress.ip_address(last)))) == "10.1.0.2"


@pytest.mark.parametrize(
    ("subnets", "problem"),
    [
        ((), "subnets: at least one"),
        ((BuiltinSubnet(subnet="10.1.0.1/16"),), r"subnets\[0\]: 10.1.0.1/16 has host bits set"),
        ((BuiltinSubnet(subnet="x"),), r"subnets\[0\]"),
        ((BuiltinSubnet(subnet="10.1.0.0/31"),), "too small"),
        ((BuiltinSubnet(subnet="10.1.0.0/24", gateway="10.2.0.1"),), r"gateway 10.2.0.1 is not in"),
        ((BuiltinSubnet(subnet="10.1.0.0/24", range_start="fd00::1"),), "range start fd00::1 is not in"),
        (
            (BuiltinSubnet(subnet="10.1.0.0/24", range_start="10.1.0.9", range_end="10.1.0.8"),),
            "range start 10.1.0.9 lies behind range end 10.1.0.8",
        ),
        ((BuiltinSubnet(subnet="10.1.0.0/24"), BuiltinSubnet(subnet="10.1.0.0/16")), "overlap"),
        ((BuiltinSubnet(subnet="10.1.0.0/24"), BuiltinSubnet(subnet="10.2.0.0/24")), "one of each address family"),
    ],
)
def test_contradictions_are_told(subnets: tuple[BuiltinSubnet, ...], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        planned(*subnets)
