"""The node through the kubernetes client and through the kubelet's own credentials, against a small server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client

from deploy.installer import names
from deploy.installer.cluster.drain import drain
from deploy.installer.cluster.kubeconfig import Unreadable, read_credentials, read_node
from deploy.installer.cluster.kubernetes_node import KubernetesNode, api_client
from deploy.installer.cluster.node import NodeState
from deploy.installer.errors import NotVerified
from deploy.installer.host import Host
from deploy.installer.switching.verify import problem_with
from tests.fake_api import FakeApi, pod, serving


@pytest.fixture(name="api")
def _api() -> Iterator[FakeApi]:
    with serving(FakeApi()) as api:
        yield api


@pytest.fixture(name="node")
def _node(api: FakeApi, tmp_path: Path) -> KubernetesNode:
    return KubernetesNode(api_client(api.kubeconfig(tmp_path)), "worker-1")


def test_facts_of_the_node(node: KubernetesNode) -> None:
    assert node.machine_id() == "0123456789abcdef0123456789abcdef"
    assert node.runtime_version() == "containerd://1.7.0"
    assert node.kubelet_version() == "v1.37.2"
    assert node.is_ready()
    assert node.state() is None


def test_the_label_comes_and_goes_and_leaves_the_others(node: KubernetesNode, api: FakeApi) -> None:
    node.set_state(NodeState.FAILED, "rolled back: why")
    assert node.state() is NodeState.FAILED
    assert api.node["metadata"]["annotations"] == {names.MESSAGE_ANNOTATION: "rolled back: why"}
    node.set_state(NodeState.READY)
    node.forget()
    assert api.node["metadata"]["labels"] == {"kubernetes.io/os": "linux"}
    assert api.node["metadata"]["annotations"] == {}


def test_a_label_with_a_value_of_nobody_is_ours_all_the_same(node: KubernetesNode, api: FakeApi) -> None:
    api.node["metadata"]["labels"][names.LABEL] = "odd"
    assert node.state() is NodeState.FAILED


def test_cordon_and_taint_leave_what_others_set(node: KubernetesNode, api: FakeApi) -> None:
    api.conflicts = 2
    for _ in range(2):
        node.taint(True)
        node.cordon(True)
    assert node.is_cordoned()
    assert [taint["key"] for taint in api.node["spec"]["taints"]] == ["theirs", names.TAINT]
    for _ in range(2):
        node.taint(False)
        node.cordon(False)
    assert not node.is_cordoned()
    assert [taint["key"] for taint in api.node["spec"]["taints"]] == ["theirs"]


def test_annotations_are_set_and_removed(node: KubernetesNode) -> None:
    node.annotate(names.CRI_SOCKET_ANNOTATION, "unix:///x")
    assert node.annotation(names.CRI_SOCKET_ANNOTATION) == "unix:///x"
    node.annotate(names.CRI_SOCKET_ANNOTATION, None)
    assert node.annotation(names.CRI_SOCKET_ANNOTATION) is None


def test_a_drain_moves_what_can_go_and_keeps_budgets(api: FakeApi, tmp_path: Path) -> None:
    api.pods = [
        pod("web"),
        pod("agent", owner="DaemonSet"),
        pod("etcd", owner="Node", annotations={"kubernetes.io/config.mirror": "x"}),
        {**pod("done"), "status": {"phase": "Succeeded"}},
    ]
    api.refusals = 1
    pauses: list[float] = []
    core = client.CoreV1Api(api_client(api.kubeconfig(tmp_path)))
    drain(core, "worker-1", 60, now=lambda: 0.0, sleep=pauses.append)
    assert api.evicted == ["web"]
    assert len(pauses) == 2


def test_a_drain_that_does_not_end_names_what_is_left(api: FakeApi, tmp_path: Path) -> None:
    api.pods, api.refusals = [pod("web")], 1000
    clock = iter(range(100))
    core = client.CoreV1Api(api_client(api.kubeconfig(tmp_path)))
    with pytest.raises(NotVerified, match="default/web"):
        drain(core, "worker-1", 3, now=lambda: float(next(clock)), sleep=lambda _: None)


def test_the_host_reads_its_node_with_the_kubelets_credentials(api: FakeApi, tmp_path: Path) -> None:
    api.kubeconfig(tmp_path)
    report = read_node(read_credentials(Host(tmp_path), "/kubeconfig"), "worker-1")
    assert (report.ready, report.runtime) == (True, "containerd://1.7.0")
    assert report.labels == {"kubernetes.io/os": "linux"}
    with pytest.raises(Unreadable, match="answers 404"):
        read_node(read_credentials(Host(tmp_path), "/kubeconfig"), "nobody")


@pytest.mark.parametrize("text", ["", "a: [", "current-context: x\n", '{"current-context": "c", "contexts": []}'])
def test_other_credentials_are_said_to_be_unreadable(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    with pytest.raises(Unreadable):
        read_credentials(Host(tmp_path), "/k")


def test_a_node_is_verified_by_runtime_heartbeat_and_condition(api: FakeApi, tmp_path: Path) -> None:
    api.kubeconfig(tmp_path)
    credentials = read_credentials(Host(tmp_path), "/kubeconfig")

    def problem(since: str) -> str:
        return problem_with(read_node(credentials, "worker-1"), "coracle://", since)

    assert "containerd://1.7.0, not coracle://" in problem("")
    api.node["status"]["nodeInfo"]["containerRuntimeVersion"] = "coracle://0.1.0"
    assert "not reported since" in problem("2026-01-01T00:00:00Z")
    api.node["status"]["conditions"][0]["lastHeartbeatTime"] = "2026-01-01T00:00:10Z"
    assert problem("2026-01-01T00:00:00Z") == ""
    api.node["status"]["conditions"][0]["status"] = "False"
    assert problem("2026-01-01T00:00:00Z") == "the node is not Ready"
