"""Results in every version."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.config import VERSIONS, rank
from cni.errors import ResultError
from cni.result import dump, in_version, network_result, parse

FULL = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "b0", "mac": "0a:58:00:00:00:01"},
        {"name": "eth0", "mac": "0a:58:0a:58:00:02", "sandbox": "/run/netns/x", "mtu": 1400, "pciID": "0000:00"},
    ],
    "ips": [
        {"address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 1},
        {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 1},
    ],
    "routes": [{"dst": "0.0.0.0/0", "mtu": 1300, "scope": 0}, {"dst": "::/0", "gw": "fd00::1"}],
    "dns": {"nameservers": ["10.1.0.1"], "search": ["a.b"]},
}


def test_a_result_of_the_newest_version_survives() -> None:
    assert dump(parse(FULL), "1.1.0") == FULL


@given(st.sampled_from(VERSIONS), st.sampled_from(VERSIONS))
def test_any_version_becomes_any_other(one: str, other: str) -> None:
    written = dump(parse(dump(parse(FULL), one)), other)
    assert written["cniVersion"] == other
    again = parse(written)
    assert [str(a.address) for a in again.addresses] == ["10.1.0.2/16", "fd00::2/64"]
    ips = json.loads(json.dumps(written))["ips"]
    assert [ip.get("version") for ip in ips] == (["4", "6"] if rank(other) < rank("1.0.0") else [None, None])
    assert (again.interfaces[1].mtu == 1400) == (one == other == "1.1.0")
    assert bool(again.routes[0].numbers) == (one == other == "1.1.0")


def test_a_result_of_the_right_version_is_passed_on_untouched() -> None:
    document = FULL | {"vendor": {"x": 1}}
    assert in_version(document, "1.1.0") is document
    assert "vendor" not in in_version(document, "1.0.0")


def test_the_pods_addresses_are_those_of_its_interface() -> None:
    found = network_result("net", "eth0", parse(FULL))
    assert (found.ips, found.gateways, found.mac) == (
        ("10.1.0.2", "fd00::2"),
        ("10.1.0.1", "fd00::1"),
        "0a:58:0a:58:00:02",
    )
    assert found.dns.nameservers == ("10.1.0.1",)
    other = [{"address": "10.9.0.9/16", "interface": 0}]
    assert network_result("n", "eth0", parse(FULL | {"ips": [*FULL["ips"], *other]})).ips == found.ips
    assert network_result("n", "net1", parse(FULL)).ips == found.ips
    assert network_result("n", "eth0", parse(FULL | {"ips": [{"address": "10.9.0.9/16"}]})).ips == ("10.9.0.9",)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "result: not a JSON object"),
        ({}, 'cniVersion: "" is none of'),
        ({"cniVersion": "0.2.0", "ip4": {}}, "cniVersion"),
        ({"cniVersion": "1.0.0", "ips": 1}, "ips: not a list"),
        ({"cniVersion": "1.0.0", "ips": [1]}, r"ips\[0\]: not a JSON object"),
        ({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.300/16"}]}, r"ips\[0\].address"),
        ({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.3/16", "interface": 0}]}, "0 is none of 0 interfaces"),
        ({"cniVersion": "1.0.0", "interfaces": [{"name": 3}]}, r"interfaces\[0\].name: not a string"),
        ({"cniVersion": "1.1.0", "routes": [{"dst": "::/0", "mtu": "x"}]}, r"routes\[0\].mtu: not a number"),
        ({"cniVersion": "1.0.0", "dns": []}, None),
        ({"cniVersion": "1.0.0", "dns": {"search": "x"}}, "dns.search: not a list of strings"),
    ],
)
def test_errors_name_the_field(document: object, problem: str | None) -> None:
    if problem is None:
        parse(document)
        return
    with pytest.raises(ResultError, match=problem):
        parse(document)


_KEYS = st.sampled_from(["address", "interface", "name", "dst", "mtu", "search", "gateway"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "10.0.0.1/8", "::1/64"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner),
)


@given(st.dictionaries(st.sampled_from(["ips", "interfaces", "routes", "dns"]), _VALUES))
def test_any_result_parses_or_says_why_not(document: dict[str, object]) -> None:
    try:
        network_result("n", "eth0", parse({"cniVersion": "1.1.0"} | document))
    except ResultError:
        pass  # the only error there may be
