"""kubeadm from init to reset, each test going on where the one before it ended."""

from __future__ import annotations

import re

import pytest

from e2e.kube.api import until
from e2e.kube.manifests import container, deployment, pod, service
from e2e.kube.settings import DOMAIN, NODE
from e2e.kube.workload import Workload, is_ready
from e2e.kubeadm.conftest import Bed

SPACE = "kube-system"
STATIC = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
ADDONS = {"kube-proxy": 1, "coredns": 2}
SERVES = "hostname > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"


def _containers(bed: Bed) -> dict[str, str]:
    """Of the control plane and the addons: pod -> its one container and how often it restarted."""
    return {
        item["metadata"]["name"]: f"{status['containerID']} {status['restartCount']}"
        for item in bed.node.api.get(f"/api/v1/namespaces/{SPACE}/pods")["items"]
        for status in item["status"].get("containerStatuses", ())
        if "containerID" in status
    }


def _addons_are_ready(bed: Bed) -> bool:
    items = bed.node.api.get(f"/api/v1/namespaces/{SPACE}/pods")["items"]
    ready = [item["metadata"]["name"] for item in items if is_ready(item)]
    return all(sum(name.startswith(f"{addon}-") for name in ready) == count for addon, count in ADDONS.items())


def test_init_makes_a_node(bed: Bed) -> None:
    said = bed.node.init()
    assert "Your Kubernetes control-plane has initialized successfully!" in said
    until("the node to be Ready", bed.node.is_ready, seconds=120)
    info = bed.node.api.get(f"/api/v1/nodes/{NODE}")["status"]["nodeInfo"]
    assert info["containerRuntimeVersion"].startswith("coracle://")


def test_the_control_plane_is_static_pods_of_this_runtime(bed: Bed) -> None:
    names = {f"{name}-{NODE}" for name in STATIC}
    until("their mirrors to show containers", lambda: names <= _containers(bed).keys())
    found = _containers(bed)
    assert all(re.fullmatch(r"coracle://[0-9a-f]{64} 0", found[name]) for name in names), found


def test_proxy_and_names_come_up_as_pods(bed: Bed) -> None:
    until("kube-proxy and CoreDNS to be Ready", lambda: _addons_are_ready(bed), seconds=180)


@pytest.fixture
def work(bed: Bed) -> Workload:
    return Workload(api=bed.node.api, kubectl=bed.node.kubectl("default"), namespace="default")


def test_a_service_answers_by_name(bed: Bed, work: Workload) -> None:
    until("the default account", lambda: work.api.find("/api/v1/namespaces/default/serviceaccounts/default"))
    work.make(deployment("web", 2, container("main", bed.images.busybox, SERVES)))
    work.make(service("web", 80, target=8080))
    names = {item["metadata"]["name"] for item in work.rolled_out("web", seconds=120)}
    script = f"until curl -sS -m 3 http://web.default.svc.{DOMAIN}/index.html; do sleep 1; done"
    work.make(pod("asks", container("main", bed.shell, script), restartPolicy="Never"))
    assert work.ended("asks", seconds=120)["status"]["phase"] == "Succeeded"
    assert work.logs("asks").splitlines()[-1] in names


def test_the_control_plane_runs_on_without_the_daemon(bed: Bed, work: Workload) -> None:
    before = _containers(bed)
    bed.daemon.restart()
    work.run(pod("after", container("main", bed.images.busybox)))
    assert work.exec("after", "echo", "works") == "works\n"
    assert _containers(bed) == before


def test_reset_leaves_no_pod(bed: Bed) -> None:
    bed.node.reset()
    assert not list(bed.daemon.client.pods())
    assert not list(bed.daemon.client.containers())


@pytest.fixture(autouse=True)
def _in_order(request: pytest.FixtureRequest) -> None:
    """What comes after a failure would fail for its sake."""
    if request.session.testsfailed:
        pytest.skip("a test before this one failed")
