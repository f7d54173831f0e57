"""What plugins get to see."""

from __future__ import annotations

import json

import pytest

from cni.chain import Verb, arguments, attachment_invocation, gc_invocation, order, status_invocation, supports
from cni.config import NetworkConfig, parse_document
from cni.values import Attachment, Bandwidth, Dns, IpRange, PortMapping, Protocol

ALL = ["portMappings", "bandwidth", "ipRanges", "dns", "cgroupPath", "io.kubernetes.cri.pod-annotations"]
POD = Attachment(
    sandbox_id="ab12",
    netns_path="/run/netns/cni-1",
    pod_name="web",
    pod_namespace="default",
    pod_uid="u-1",
    port_mappings=(
        PortMapping(container_port=80, host_port=8080),
        PortMapping(container_port=53, host_port=53, protocol=Protocol.UDP, host_ip="10.0.0.1"),
        PortMapping(container_port=81, host_port=0),
    ),
    bandwidth=Bandwidth(ingress_rate=1000, ingress_burst=2000),
    dns=Dns(nameservers=("10.0.0.2",), search=("x",)),
    ip_ranges=((IpRange(subnet="10.1.0.0/24", range_start="10.1.0.9"),),),
    cgroup_path="/kubepods/x",
    annotations={"a": "b"},
)


def network(version: str = "1.1.0", *capabilities: str, **changes: object) -> NetworkConfig:
    plugin = {"type": "one", "capabilities": dict.fromkeys(capabilities, True), "own": {"x": 1}}
    document = {"cniVersion": version, "name": "net", "plugins": [plugin, {"type": "two"}], **changes}
    return parse_document("a.conflist", document)


def stdin(config: NetworkConfig, verb: Verb, previous: dict[str, object] | None = None) -> dict[str, object]:
    invocation = attachment_invocation(config, config.plugins[0], verb, POD, ("/opt/cni/bin", "/b"), previous)
    return dict(json.loads(invocation.stdin))


def test_the_environment_is_the_specifications() -> None:
    config = network()
    invocation = attachment_invocation(config, config.plugins[0], Verb.ADD, POD, ("/opt/cni/bin", "/b"), None)
    assert invocation.environment == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "ab12",
        "CNI_NETNS": "/run/netns/cni-1",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;"
        "K8S_POD_INFRA_CONTAINER_ID=ab12;K8S_POD_UID=u-1",
        "CNI_PATH": "/opt/cni/bin:/b",
    }


def test_an_argument_that_cannot_be_quoted_is_left_out() -> None:
    assert "K8S_POD_NAME=" not in arguments(Attachment(sandbox_id="a", netns_path="", pod_name="x;CNI=1"))


def test_the_plugins_own_keys_are_kept_and_ours_put_in() -> None:
    document = stdin(network(), Verb.ADD)
    assert document == {"type": "one", "own": {"x": 1}, "capabilities": {}, "name": "net", "cniVersion": "1.1.0"}


def test_capability_arguments_go_to_those_that_ask() -> None:
    assert stdin(network("1.1.0", *ALL), Verb.ADD)["runtimeConfig"] == {
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "10.0.0.1"},
        ],
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 2000},
        "ipRanges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9"}]],
        "dns": {"servers": ["10.0.0.2"], "searches": ["x"]},
        "cgroupPath": "/kubepods/x",
        "io.kubernetes.cri.pod-annotations": {"a": "b"},
    }
    assert set(stdin(network("1.1.0", "dns"), Verb.ADD)["runtimeConfig"]) == {"dns"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("version", "verb", "there"),
    [
        ("0.3.1", Verb.ADD, True),
        ("0.3.1", Verb.DEL, False),
        ("0.4.0", Verb.DEL, True),
        ("0.4.0", Verb.CHECK, True),
    ],
)
def test_the_previous_result_is_passed_where_the_version_knows_it(version: str, verb: Verb, there: bool) -> None:
    assert ("prevResult" in stdin(network(version), verb, {"cniVersion": version})) is there


def test_del_runs_backwards() -> None:
    assert [plugin.type for plugin in order(network(), Verb.DEL)] == ["two", "one"]
    assert [plugin.type for plugin in order(network(), Verb.CHECK)] == ["one", "two"]


@pytest.mark.parametrize(
    ("version", "verbs"),
    [
        ("0.3.1", {Verb.ADD, Verb.DEL}),
        ("0.4.0", {Verb.ADD, Verb.DEL, Verb.CHECK}),
        ("1.0.0", {Verb.ADD, Verb.DEL, Verb.CHECK}),
        ("1.1.0", set(Verb)),
    ],
)
def test_verbs_by_version(version: str, verbs: set[Verb]) -> None:
    assert {verb for verb in Verb if supports(network(version), verb)} == verbs
    assert not supports(network(version, disableCheck=True), Verb.CHECK)
    assert not supports(network(version, disableGC=True), Verb.GC)


def test_status_and_gc_name_no_attachment() -> None:
    config = network()
    status = status_invocation(config, config.plugins[0], ("/b",))
    collect = gc_invocation(config, config.plugins[0], {("b", "eth0"), ("a", "net1")}, ("/b",))
    assert status.environment == {"CNI_COMMAND": "STATUS", "CNI_PATH": "/b"}
    assert collect.environment == {"CNI_COMMAND": "GC", "CNI_PATH": "/b"}
    assert json.loads(collect.stdin)["cni.dev/valid-attachments"] == [
        {"containerID": "a", "ifname": "net1"},
        {"containerID": "b", "ifname": "eth0"},
    ]
