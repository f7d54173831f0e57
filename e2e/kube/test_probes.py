"""Probes of each kind: what they see reaches the pod's readiness, and a dead container is started again."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.images.catalog import ImageNames
from e2e.kube.api import until
from e2e.kube.images import HEALTH_PORT
from e2e.kube.manifests import container, pod
from e2e.kube.workload import Workload, container_status, is_ready, restarts

_QUICK = {"periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 2}


def _web(images: ImageNames, **probes: Any) -> dict[str, Any]:
    return {"name": "main", "image": images.nginx, **probes}


def test_readiness_by_exec_comes_and_goes(work: Workload, images: ImageNames) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, **_QUICK}
    work.make(pod("exec", container("main", images.busybox, readinessProbe=probe)))
    running = work.when("exec", lambda pod: pod["status"]["phase"] == "Running", "Running")
    assert not is_ready(running)
    work.exec("exec", "touch", "/tmp/ready")
    work.ready("exec")
    work.exec("exec", "rm", "/tmp/ready")
    pod_again = work.when("exec", lambda pod: not is_ready(pod), "not Ready")
    assert restarts(pod_again) == 0


@pytest.mark.parametrize(
    ("name", "probe"),
    [
        ("http", {"httpGet": {"path": "/index.html", "port": 80}}),
        ("tcp", {"tcpSocket": {"port": 80}}),
    ],
)
def test_readiness_by_port(work: Workload, images: ImageNames, name: str, probe: dict[str, Any]) -> None:
    work.run(pod(name, _web(images, readinessProbe={**probe, **_QUICK})))


def test_readiness_by_grpc(work: Workload, health_server: str) -> None:
    probe = {"grpc": {"port": HEALTH_PORT}, **_QUICK}
    work.run(pod("grpc", {"name": "main", "image": health_server, "readinessProbe": probe}))


@pytest.mark.parametrize(
    ("name", "probe"),
    [
        ("dead-http", {"httpGet": {"path": "/absent", "port": 80}}),
        ("dead-tcp", {"tcpSocket": {"port": 81}}),
        ("dead-grpc", {"grpc": {"port": 80}}),
        ("dead-exec", {"exec": {"command": ["false"]}}),
    ],
)
def test_liveness_restarts_the_container(work: Workload, images: ImageNames, name: str, probe: dict[str, Any]) -> None:
    work.make(pod(name, _web(images, livenessProbe={**probe, **_QUICK})))
    work.when(name, lambda pod: restarts(pod) >= 1, "restarted")
    work.remove("Pod", name, grace=0)


def test_exec_probe_that_hangs_counts_as_failed(work: Workload, images: ImageNames) -> None:
    probe = {"exec": {"command": ["sleep", "60"]}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}
    work.make(pod("hangs", container("main", images.busybox, livenessProbe=probe)))
    work.when("hangs", lambda pod: restarts(pod) >= 1, "restarted")

    def events() -> bool:
        listed = work.api.get(f"/api/v1/namespaces/{work.namespace}/events")["items"]
        mine = [one["message"] for one in listed if one["involvedObject"]["name"] == "hangs"]
        return any("timed out" in message for message in mine)

    assert until("an event that says so", events)
    work.remove("Pod", "hangs", grace=0)


def test_startup_probe_holds_the_others_back(work: Workload, images: ImageNames) -> None:
    startup = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 60}
    dead = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1}
    script = "sleep 4; touch /tmp/up; while :; do sleep 1; done"
    work.make(pod("slow", container("main", images.busybox, script, startupProbe=startup, livenessProbe=dead)))
    ready = work.ready("slow")
    assert restarts(ready) == 0
    assert container_status(ready, "main")["started"] is True
    work.remove("Pod", "slow", grace=0)
