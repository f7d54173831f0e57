"""The node as the cluster sees it, and the figures that it gives of its pods."""

from __future__ import annotations

import re

from e2e.images.catalog import ImageNames
from e2e.kube.api import until
from e2e.kube.cluster import Cluster
from e2e.kube.manifests import container, pod
from e2e.kube.settings import NODE
from e2e.kube.workload import Workload


def test_node_is_ready_and_names_its_runtime(cluster: Cluster) -> None:
    assert cluster.node_is_ready()
    info = cluster.api.get(f"/api/v1/nodes/{NODE}")["status"]["nodeInfo"]
    assert re.fullmatch(r"coracle://\d+\.\d+\.\d+", info["containerRuntimeVersion"])
    assert "coracle://" in cluster.kubectl("default")("get", "nodes", "-o", "wide")


def test_node_tells_what_its_runtime_can_do(cluster: Cluster) -> None:
    status = cluster.api.get(f"/api/v1/nodes/{NODE}")["status"]
    assert status["features"]["supplementalGroupsPolicy"] is True
    default = next(one for one in status["runtimeHandlers"] if not one.get("name"))
    assert default["features"] == {"recursiveReadOnlyMounts": True, "userNamespaces": True}


def test_node_has_nothing_to_complain_about(cluster: Cluster) -> None:
    conditions = cluster.api.get(f"/api/v1/nodes/{NODE}")["status"]["conditions"]
    assert {one["type"] for one in conditions if one["status"] == "True"} == {"Ready"}


def test_images_of_the_node_are_listed(cluster: Cluster, work: Workload, images: ImageNames) -> None:
    work.run(pod("lists", container("main", images.busybox)))

    def names() -> bool:
        listed = cluster.api.get(f"/api/v1/nodes/{NODE}")["status"].get("images", ())
        return any(images.busybox in one["names"] for one in listed)

    assert until("the image in the node's list", names, seconds=90)


def test_figures_of_a_pod(cluster: Cluster, work: Workload, images: ImageNames) -> None:
    """As the kubelet has them from the runtime; `kubectl top` shows a part of them."""
    work.run(pod("busy", container("main", images.busybox, "while :; do :; done")))

    def summary() -> dict[str, int] | None:
        for entry in cluster.kubelet_api.get("/stats/summary")["pods"]:
            if entry["podRef"]["name"] == "busy" and entry.get("containers"):
                main = entry["containers"][0]
                figures = {
                    "memory": main["memory"].get("workingSetBytes", 0),
                    "cpu": main["cpu"].get("usageNanoCores", 0),
                    "disk": main["rootfs"].get("usedBytes", -1),
                    "logs": main["logs"].get("usedBytes", -1),
                    "pod memory": entry["memory"].get("workingSetBytes", 0),
                }
                return figures if figures["cpu"] and figures["memory"] and figures["pod memory"] else None
        return None

    figures = until("figures of the pod", summary, seconds=60)
    assert figures["cpu"] > 10_000_000  # a loop: far more than a hundredth of a core, whoever shares the machine
    assert 4096 < figures["memory"] < 50 << 20
    assert figures["disk"] >= 0
    assert figures["logs"] >= 0
    metrics = cluster.kubelet_api.text("GET", "/metrics/resource")
    for name in ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes"):
        assert re.search(rf'^{name}{{container="main",namespace="{work.namespace}",pod="busy"}}', metrics, re.MULTILINE)
    work.remove("Pod", "busy", grace=0)
