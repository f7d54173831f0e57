"""Limits and what happens beyond them: memory, disk, resize in place, the node's own pressure; user namespaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from e2e.images.catalog import ImageNames
from e2e.kube.api import until
from e2e.kube.cluster import Cluster
from e2e.kube.manifests import WAIT, container, pod
from e2e.kube.settings import NODE
from e2e.kube.workload import Workload, condition, container_status, restarts

# Ends at once too, but not well: the kubelet reports an evicted pod that ends well as succeeded.
HOLD = WAIT.replace("exit 0", "exit 1")
EATS = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"


def _limited(memory: str = "32Mi", cpu: str = "100m") -> dict[str, Any]:
    return {"limits": {"memory": memory, "cpu": cpu}}


def test_memory_beyond_the_limit_is_reported_as_such(work: Workload, images: ImageNames) -> None:
    main = container("main", images.busybox, EATS, resources=_limited())
    work.make(pod("eats", main, restartPolicy="Never"))
    end = container_status(work.ended("eats"), "main")["state"]["terminated"]
    assert (end["reason"], end["exitCode"]) == ("OOMKilled", 137)


def test_a_child_out_of_memory_does_not_take_the_container_along(work: Workload, images: ImageNames) -> None:
    main = container("main", images.busybox, f"({EATS}); echo survived; sleep 1; exit 0", resources=_limited())
    work.make(pod("parent", main, restartPolicy="Never"))
    ended = work.ended("parent")
    assert ended["status"]["phase"] in ("Succeeded", "Failed")
    state = container_status(ended, "main")["state"]["terminated"]
    # cgroup v2 kills the whole container by default (memory.oom.group), v1 the one process.
    assert state["reason"] == "OOMKilled" or work.logs("parent").endswith("survived\n")


def test_limits_reach_the_cgroup_and_follow_a_resize_in_place(work: Workload, images: ImageNames) -> None:
    work.run(pod("sized", container("main", images.busybox, resources=_limited("64Mi", "200m"))))
    first = _limits(work, "sized")
    assert first == (64 << 20, 0.2)
    before = container_status(work.pod("sized"), "main")["containerID"]
    patch = {"spec": {"containers": [{"name": "main", "resources": _limited("96Mi", "300m") | _requests()}]}}
    work.api.patch(work.path("Pod", "sized") + "/resize", patch)
    until("the new limits", lambda: _limits(work, "sized") == (96 << 20, 0.3), seconds=60, every=1)
    status = work.when(
        "sized",
        lambda pod: container_status(pod, "main").get("resources", {}).get("limits", {}).get("memory") == "96Mi",
        "reported with its new limits",
    )
    assert container_status(status, "main")["containerID"] == before
    assert restarts(status) == 0


def _requests() -> dict[str, Any]:
    return {"requests": {"memory": "96Mi", "cpu": "300m"}}


def _limits(work: Workload, name: str) -> tuple[int, float]:
    """Memory in bytes, processor in cores, as the container's own cgroup has them."""
    script = (
        "if test -e /sys/fs/cgroup/memory.max; then cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max; else "
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us "
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us; fi"
    )
    memory, quota, period = work.exec(name, "sh", "-c", script).split()
    return int(memory), int(quota) / int(period)


def test_resize_that_wants_a_restart_gets_one(work: Workload, images: ImageNames) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    main = container("main", images.busybox, resources=_limited("64Mi", "200m"), resizePolicy=policy)
    work.run(pod("restarts", main))
    resources = _limited("96Mi", "200m") | {"requests": {"memory": "96Mi", "cpu": "200m"}}
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    work.api.patch(work.path("Pod", "restarts") + "/resize", patch)
    work.when("restarts", lambda pod: restarts(pod) == 1 and condition(pod, "Ready"), "restarted once")
    assert _limits(work, "restarts")[0] == 96 << 20


def test_writable_layer_beyond_its_limit_is_evicted(work: Workload, images: ImageNames) -> None:
    resources = {"limits": {"ephemeral-storage": "5Mi"}}
    main = container("main", images.busybox, f"dd if=/dev/zero of=/big bs=1M count=20; {HOLD}", resources=resources)
    work.make(pod("writes", main))
    ended = work.when("writes", lambda pod: pod["status"]["phase"] == "Failed", "evicted", seconds=120)
    assert ended["status"]["reason"] == "Evicted"
    assert "ephemeral local storage" in ended["status"]["message"]
    work.remove("Pod", "writes")


def test_empty_directory_beyond_its_limit_is_evicted(work: Workload, images: ImageNames) -> None:
    main = container("main", images.busybox, f"dd if=/dev/zero of=/disk/big bs=1M count=20; {HOLD}")
    main["volumeMounts"] = [{"name": "disk", "mountPath": "/disk"}]
    work.make(pod("fills", main, volumes=[{"name": "disk", "emptyDir": {"sizeLimit": "5Mi"}}]))
    ended = work.when("fills", lambda pod: pod["status"]["phase"] == "Failed", "evicted", seconds=120)
    assert ended["status"]["reason"] == "Evicted"
    work.remove("Pod", "fills")


def test_node_under_pressure_evicts_the_greediest(cluster: Cluster, work: Workload, images: ImageNames) -> None:
    """The node is told that nearly all its memory has to stay free: it is under pressure at once."""
    work.run(pod("greedy", container("main", images.busybox, f"head -c 40000000 /dev/zero | tail & {HOLD}")))
    cluster.restart_kubelet({"memory.available": "99%"})
    try:
        ended = work.when("greedy", lambda pod: pod["status"]["phase"] == "Failed", "evicted", seconds=120)
        assert ended["status"]["reason"] == "Evicted"
        # Either it was chosen, or the kubelet that came back would not take it again.
        assert "memory" in ended["status"]["message"].lower()
    finally:
        cluster.restart_kubelet()

    def relaxed() -> bool:
        conditions = cluster.api.get(f"/api/v1/nodes/{NODE}")["status"]["conditions"]
        return all(one["status"] == ("True" if one["type"] == "Ready" else "False") for one in conditions)

    until("the pressure to end", relaxed, seconds=90)
    taints = cluster.api.get(f"/api/v1/nodes/{NODE}")["spec"].get("taints", [])
    until("the taint to go", lambda: not cluster.api.get(f"/api/v1/nodes/{NODE}")["spec"].get("taints"), seconds=60)
    assert all("memory-pressure" in one["key"] for one in taints)


def test_user_namespace_of_a_pod(work: Workload, images: ImageNames, tmp_path: Path) -> None:
    main = container("main", images.busybox)
    main["volumeMounts"] = [{"name": "disk", "mountPath": "/disk"}, {"name": "settings", "mountPath": "/settings"}]
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "settings", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    work.run(pod("apart", main, hostUsers=False, volumes=volumes))
    inside, outside, size = work.exec("apart", "cat", "/proc/self/uid_map").split()
    assert (inside, size) == ("0", "65536")
    assert int(outside) >= 65536
    assert work.exec("apart", "sh", "-c", "id -u; touch /disk/x /x; stat -c %u /disk/x /x") == "0\n0\n0\n"
    assert work.exec("apart", "cat", "/settings/name") == "apart"
    other = pod("apart-too", container("main", images.busybox), hostUsers=False)
    work.run(other)
    assert work.exec("apart-too", "cat", "/proc/self/uid_map").split()[1] != outside
