"""What the tests do on the node and ask of it: mark it, run an application on it, compare it with what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from e2e.installer.conftest import Bed
from e2e.kube.settings import NODE


def mark(bed: Bed, value: str | None) -> None:
    bed.cluster.api.patch(f"/api/v1/nodes/{NODE}", {"metadata": {"labels": {"coracle.io/switch": value}}})


def deployment(image: str) -> dict[str, Any]:
    container = {"name": "main", "image": image, "command": ["sleep", "1000000"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "app"}},
            "template": {
                "metadata": {"labels": {"app": "app"}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            },
        },
    }


def running_on(bed: Bed, scheme: str) -> bool:
    """Both pods of the Deployment run, on that runtime."""
    pods = bed.work.pods("app")
    ids = [status.get("containerID", "") for pod in pods for status in pod["status"].get("containerStatuses", [])]
    ready = [status["ready"] for pod in pods for status in pod["status"].get("containerStatuses", [])]
    return len(ids) == 2 and all(ready) and all(one.startswith(f"{scheme}://") for one in ids)


def deployed(bed: Bed) -> None:
    """The application, made unless it is there."""
    if bed.work.api.find(bed.work.path("Deployment", "app")) is None:
        bed.work.make(deployment(f"{bed.registry.address}/test/busybox:1"))


def assert_as_before(bed: Bed) -> None:
    """No label, no annotation, no taint, no rights, no unit, no bridge, and every file of the host as it was."""
    assert bed.label() is None
    assert bed.runtime() == "containerd"
    bed.wait("the application", lambda: running_on(bed, "containerd"))
    node = bed.node()
    assert not [key for key in node["metadata"].get("annotations", {}) if key.startswith("coracle.io")]
    assert not node["spec"].get("unschedulable")
    assert not node["spec"].get("taints")
    assert bed.tree.snapshot() == bed.before
    assert not Path("/sys/class/net/co-ins").exists()
    assert not bed.systemd.enabled & {"coracle.service", "coracle-switch.service", "coracle-rollback.timer"}
    assert not [unit for unit in bed.systemd.active if unit.startswith("coracle")]
    roles = bed.cluster.api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles")["items"]
    assert not [role for role in roles if role["metadata"]["name"].startswith("coracle")]
