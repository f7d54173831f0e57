"""What may end and come back while pods run: the kubelet, the daemon, another version of it, the whole node.

A few steady pods count; beside them a load makes and removes pods all the time. Whatever restarts, the steady ones run
on: the same containers, never restarted, every line of their logs, every request to their Service answered.
"""

from __future__ import annotations

import dataclasses
import http.client
import itertools
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cri.api import runtime_pb2 as pb
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames
from e2e.kube.api import TookTooLong, until
from e2e.kube.cluster import Cluster
from e2e.kube.manifests import container, deployment, job, service
from e2e.kube.power import power_off
from e2e.kube.workload import Workload, is_ready, restarts
from e2e.paths import ROOT

COUNTS = "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
SERVES = "hostname > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
_NAMES = itertools.count()


@pytest.fixture(scope="module")
def steady(work: Workload, images: ImageNames) -> Iterator[str]:
    """Three pods with a Service: one container serves and is probed, one counts, and both share a directory."""
    probe = {"exec": {"command": ["cat", "/tmp/index.html"]}, "periodSeconds": 1, "timeoutSeconds": 5}
    serves = container("serves", images.busybox, SERVES, livenessProbe=probe, readinessProbe=probe)
    counts = container("counts", images.busybox, COUNTS)
    for one in (serves, counts):
        one["volumeMounts"] = [{"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"}]
    volumes = [{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]
    work.make(deployment("steady", 3, serves, counts, volumes=volumes))
    work.make(service("steady", 80, target=8080))
    for pod in work.rolled_out("steady"):
        work.exec(pod["metadata"]["name"], "sh", "-c", "echo kept > /disk/x; echo lost > /memory/x", container="serves")
    yield "steady"
    work.remove("Deployment", "steady")


def test_kubelet_comes_back_to_the_same_pods(cluster: Cluster, work: Workload, steady: str) -> None:
    with _undisturbed(work, steady):
        cluster.kill_kubelet()
        time.sleep(3)
        cluster.start_kubelet()
        until("the node to be Ready", cluster.node_is_ready)
        time.sleep(3)


def test_daemon_stops_and_comes_back_under_load(
    cluster: Cluster, daemon: Daemon, work: Workload, images: ImageNames, steady: str
) -> None:
    def restart() -> None:
        daemon.stop()
        daemon.start()

    _repeat_under_load(restart, 3, cluster, work, images, steady)


def test_daemon_is_killed_and_comes_back_under_load(
    cluster: Cluster, daemon: Daemon, work: Workload, images: ImageNames, steady: str
) -> None:
    _repeat_under_load(daemon.restart, 3, cluster, work, images, steady)


def test_kubelet_and_daemon_come_back_together(
    cluster: Cluster, daemon: Daemon, work: Workload, images: ImageNames, steady: str
) -> None:
    def restart() -> None:
        cluster.kill_kubelet()
        daemon.kill()
        daemon.start()
        cluster.start_kubelet()  # last: without a runtime it ends at once

    _repeat_under_load(restart, 1, cluster, work, images, steady)


def test_another_version_takes_over_under_load_and_gives_back(
    cluster: Cluster, daemon: Daemon, work: Workload, images: ImageNames, steady: str, tmp_path: Path
) -> None:
    newer = Daemon(dataclasses.replace(daemon.settings, tree=_with_another_version(tmp_path / "newer")))

    def upgrade() -> None:
        daemon.stop()
        newer.start()
        assert newer.version() == "99.0.0"

    def downgrade() -> None:
        newer.stop()
        daemon.start()
        assert daemon.version() != "99.0.0"

    try:
        _repeat_under_load(upgrade, 1, cluster, work, images, steady)
        _repeat_under_load(downgrade, 1, cluster, work, images, steady)
    finally:
        newer.stop()
    work.exec(work.pods(steady)[0]["metadata"]["name"], "true", container="counts")


def test_node_reboots(cluster: Cluster, daemon: Daemon, work: Workload, steady: str) -> None:
    """The pods are the same objects with new containers; what they wrote to disk is there, what was in memory not."""
    before = {pod["metadata"]["name"]: restarts(pod) for pod in work.rolled_out(steady)}
    power_off(cluster, daemon)
    daemon.start()
    cluster.start()

    def back() -> list[dict[str, Any]] | None:
        pods = work.pods(steady)
        again = [pod for pod in pods if restarts(pod) > before[pod["metadata"]["name"]]]
        return pods if len(again) == len(before) else None

    until("every pod to have new containers", back, seconds=120)
    pods = work.rolled_out(steady, seconds=120)
    assert {pod["metadata"]["name"] for pod in pods} == set(before)
    for pod in pods:
        assert restarts(pod) == before[pod["metadata"]["name"]] + 2  # each of the two containers once
        assert work.exec(pod["metadata"]["name"], "sh", "-c", "cat /disk/x; ls /memory", container="serves") == "kept\n"
    address = work.api.get(work.path("Service", steady))["spec"]["clusterIP"]
    until("the Service to answer", lambda: _fetch(address))
    ready = [one for one in daemon.client.pods() if one.state == pb.PodSandboxState.SANDBOX_READY]
    running = work.api.get("/api/v1/pods?fieldSelector=status.phase%3DRunning")["items"]
    assert {one.metadata.uid for one in ready} == {pod["metadata"]["uid"] for pod in running}


@contextmanager
def _undisturbed(work: Workload, app: str) -> Iterator[None]:
    """Inside, the Service is asked all the time. After: no request failed, each container is the same, no line lost."""
    before = _identities(work, app)
    address = work.api.get(work.path("Service", app))["spec"]["clusterIP"]
    failures: list[str] = []
    asked = itertools.count()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            next(asked)
            try:
                _fetch(address)
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"{time.strftime('%X')} {error!r}")
            time.sleep(0.05)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not failures, f"{len(failures)} of {next(asked)} requests failed, first {failures[0]}"
    until("all pods to be Ready", lambda: _rolled_out(work, app), seconds=60)
    assert _identities(work, app) == before
    for name in {name for name, *_ in before}:
        numbers = [int(line) for line in work.logs(name, "counts").split()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _repeat_under_load(
    restart: Callable[[], None], times: int, cluster: Cluster, work: Workload, images: ImageNames, steady: str
) -> None:
    """The load: a Job of short pods, four at a time, and a Deployment that grows and shrinks.

    A pod of the load whose container was made but not yet started when the daemon went counts a restart in the end: the
    kubelet makes it anew. One whose container ran keeps it.
    """
    ran: dict[str, str] = {}
    name = f"load-{next(_NAMES)}"
    work.make(deployment(name, 1, container("main", images.busybox)))
    work.make(job(name, container("main", images.busybox, "echo $HOSTNAME"), completions=8 * times, parallelism=4))
    with _undisturbed(work, steady):
        for turn in range(times):
            work.api.patch(work.path("Deployment", name), {"spec": {"replicas": 4 if turn % 2 == 0 else 1}})
            time.sleep(1)
            ran |= _containers(work, name)
            restart()
            time.sleep(1)
        work.kubectl("wait", "--for=condition=complete", f"job/{name}", "--timeout=120s", seconds=130)
        until("the node to be Ready", cluster.node_is_ready)
        until("the load to be rolled out", lambda: _rolled_out(work, name), seconds=90)
        now = _containers(work, name)
        assert {pod: now[pod] for pod in ran if pod in now} == {pod: ran[pod] for pod in ran if pod in now}
    finished = work.api.get(work.path("Job", name))["status"]
    assert (finished["succeeded"], finished.get("failed", 0)) == (8 * times, 0)
    work.api.delete(work.path("Job", name))
    work.remove("Deployment", name)


def _rolled_out(work: Workload, name: str) -> list[dict[str, Any]] | None:
    try:
        return work.rolled_out(name, seconds=1)
    except TookTooLong:
        return None


def _containers(work: Workload, app: str) -> dict[str, str]:
    """The container of each pod that is Ready."""
    pods = [pod for pod in work.pods(app) if is_ready(pod)]
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["containerID"] for pod in pods}


def _identities(work: Workload, app: str) -> set[tuple[str, str, str, int]]:
    return {
        (pod["metadata"]["name"], pod["status"]["podIP"], status["containerID"], status["restartCount"])
        for pod in work.pods(app)
        for status in pod["status"]["containerStatuses"]
    }


def _fetch(address: str) -> str:
    connection = http.client.HTTPConnection(address, 80, timeout=5)
    try:
        connection.request("GET", "/index.html")
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
        return answer.read().decode()
    finally:
        connection.close()


def _with_another_version(directory: Path) -> Path:
    """A copy of the packages that says it is a later version, as an upgrade puts beside the old one."""
    for package in ("cri", "oci", "cni", "imagesvc"):
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    version = directory / "oci" / "version.py"
    version.write_text(re.sub(r"^(VERSION: Final = ).*$", r'\1"99.0.0"', version.read_text(), flags=re.MULTILINE))
    return directory
