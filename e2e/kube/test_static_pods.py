"""Pods that no API server asks for: the kubelet runs them from files in its directory."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cri.api import runtime_pb2 as pb
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames
from e2e.kube.api import until
from e2e.kube.cluster import Cluster
from e2e.kube.manifests import container, pod
from e2e.kube.namespace import NODE_ADDRESS
from e2e.kube.settings import NODE
from e2e.kube.workload import Workload, container_status

NAME = f"alone-{NODE}"
PORT = 18080
_RUNNING = pb.ContainerState.CONTAINER_RUNNING


@pytest.fixture
def manifest(cluster: Cluster) -> Iterator[Path]:
    path = cluster.manifests / "alone.json"
    yield path
    path.unlink(missing_ok=True)


def _write(path: Path, namespace: str, image: str, says: str) -> None:
    """As an operator's tool does: the kubelet never sees half a file."""
    main = container("main", image, f"echo {says} > /tmp/index.html; exec httpd -f -p {PORT} -h /tmp")
    main["livenessProbe"] = {"exec": {"command": ["cat", "/tmp/index.html"]}, "periodSeconds": 1}
    document = pod("alone", main, hostNetwork=True, priorityClassName="system-node-critical")
    document["metadata"]["namespace"] = namespace
    partial = path.with_name(".partial")
    partial.write_text(json.dumps(document))
    partial.rename(path)


def test_static_pod_comes_changes_and_goes_with_its_file(work: Workload, images: ImageNames, manifest: Path) -> None:
    _write(manifest, work.namespace, images.busybox, "one")
    until("the mirror pod", lambda: work.api.find(work.path("Pod", NAME)))
    first = work.ready(NAME)
    assert first["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    assert container_status(first, "main")["containerID"].startswith("coracle://")
    assert work.exec(NAME, "cat", "/tmp/index.html") == "one\n"
    _write(manifest, work.namespace, images.busybox, "two")

    def changed() -> dict[str, Any] | None:
        found = work.api.find(work.path("Pod", NAME))
        return found if found and found["metadata"]["uid"] != first["metadata"]["uid"] else None

    until("the mirror pod of the changed file", changed)
    assert container_status(work.ready(NAME), "main")["containerID"] != container_status(first, "main")["containerID"]
    assert work.exec(NAME, "cat", "/tmp/index.html") == "two\n"
    manifest.unlink()
    until("the mirror pod to go", lambda: work.api.find(work.path("Pod", NAME)) is None)


def test_static_pod_needs_no_api_server(
    cluster: Cluster, daemon: Daemon, work: Workload, images: ImageNames, manifest: Path
) -> None:
    """It starts without one, and runs on when the kubelet and the runtime restart; later the server is told of it."""

    def identifiers() -> list[str]:
        listed = daemon.client.containers()
        return [one.id for one in listed if one.labels["io.kubernetes.pod.name"] == NAME and one.state == _RUNNING]

    with cluster.without_api_server():
        _write(manifest, work.namespace, images.busybox, "on")
        until("its answer", lambda: _fetch() == "on")
        before = identifiers()
        assert len(before) == 1
        cluster.kill_kubelet()
        daemon.restart()
        cluster.start_kubelet()
        time.sleep(3)  # three probes of a kubelet that knows the pod only from its file and from the runtime
        assert _fetch() == "on"
        assert identifiers() == before
    until("the node to be Ready", cluster.node_is_ready)
    until("the mirror pod", lambda: work.api.find(work.path("Pod", NAME)))
    status = container_status(work.ready(NAME), "main")
    assert (status["containerID"], status["restartCount"]) == (f"coracle://{before[0]}", 0)


def _fetch() -> str:
    connection = http.client.HTTPConnection(NODE_ADDRESS, PORT, timeout=5)
    try:
        connection.request("GET", "/index.html")
        return connection.getresponse().read().decode().strip()
    finally:
        connection.close()
