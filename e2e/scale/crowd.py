"""Many pods at rest, asked about as a kubelet asks: lists once a second, statistics, and what they weigh."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cri.api import runtime_pb2 as pb
from e2e.bench.cpu import memory, process_seconds
from e2e.client import container_config, pod_config
from e2e.daemon import Daemon
from e2e.scale.report import Figure

_CONTAINERS = ("one", "two")


def fill(daemon: Daemon, image: str, logs: Path, cgroup: str, pods: int) -> float:
    """Runs that many pods of two containers; pods per second."""

    def run(number: int) -> None:
        directory = logs / f"pod{number}"
        directory.mkdir()
        config = pod_config(f"scale-{number}", logs=directory, namespace="scale", cgroup_parent=cgroup)
        sandbox = daemon.client.run_pod(config)
        for name in _CONTAINERS:
            daemon.client.start(daemon.client.create(sandbox, container_config(name, image, "sleep", "100000"), config))

    began = time.monotonic()
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(run, range(pods)))
    return pods / (time.monotonic() - began)


def empty(daemon: Daemon) -> float:
    """Removes them all; pods per second."""
    pods = [pod.id for pod in daemon.client.pods()]
    began = time.monotonic()

    def remove(sandbox: str) -> None:
        daemon.client.stop_pod(sandbox)
        daemon.client.remove_pod(sandbox)

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(remove, pods))
    return len(pods) / (time.monotonic() - began)


def measure(daemon: Daemon, pods: int, seconds: int) -> list[Figure]:
    client, monitors = daemon.client, daemon.monitors()
    assert len(monitors) == pods
    assert len(client.containers()) == pods * len(_CONTAINERS)

    def stats() -> None:
        client.runtime.ListContainerStats(pb.ListContainerStatsRequest(), timeout=60)

    def pod_stats() -> None:
        client.runtime.ListPodSandboxStats(pb.ListPodSandboxStatsRequest(), timeout=60)

    def metrics() -> None:
        answers = client.runtime.StreamPodSandboxMetrics(pb.StreamPodSandboxMetricsRequest(), timeout=60)
        assert sum(len(answer.pod_sandbox_metrics) for answer in answers) == pods

    stats()
    daemon_pss, daemon_private = memory(daemon.daemon_pids())
    pod_pss, pod_private = memory(monitors)
    return [
        Figure(title="ListPodSandbox p50", value=median_ms(client.pods), unit="ms", goal=5),
        Figure(title="ListContainers p50", value=median_ms(client.containers), unit="ms", goal=5),
        Figure(title="ListContainerStats p50", value=median_ms(stats, 30), unit="ms", goal=60),
        Figure(title="ListPodSandboxStats p50", value=median_ms(pod_stats, 30), unit="ms"),
        Figure(title="StreamPodSandboxMetrics p50", value=median_ms(metrics, 10), unit="ms"),
        Figure(title="daemon's CPU with both lists once a second", value=_idle(daemon, seconds), unit="%", goal=2),
        Figure(title="the daemon, all its processes, private", value=daemon_private, unit="MB", goal=120),
        Figure(title="the daemon, all its processes, PSS", value=daemon_pss, unit="MB"),
        Figure(title="beside the daemon per pod, private", value=pod_private / pods, unit="MB", goal=1.2),
        Figure(title="beside the daemon per pod, PSS", value=pod_pss / pods, unit="MB"),
    ]


def median_ms(call: Callable[[], object], times: int = 60) -> float:
    """On the client, whose own decoding of the answer is part of it."""
    return statistics.median(_timed(call) for _ in range(times))


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _idle(daemon: Daemon, seconds: int) -> float:
    pids: Sequence[int] = daemon.daemon_pids()
    before, began = process_seconds(pids), time.monotonic()
    for tick in range(seconds):
        daemon.client.pods()
        daemon.client.containers()
        time.sleep(max(0.0, began + tick + 1 - time.monotonic()))
    return (process_seconds(pids) - before) / (time.monotonic() - began) * 100
