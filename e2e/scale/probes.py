"""Exec probes at a fixed rate, spread over containers, as a full node's kubelet runs them."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import Future, ThreadPoolExecutor

from cri.api import runtime_pb2 as pb
from e2e.bench.cpu import children_seconds, process_seconds
from e2e.daemon import Daemon
from e2e.scale.report import Figure

_TIMEOUT_S = 5
_CALLERS = 16


def measure(daemon: Daemon, containers: list[str], rate: int, seconds: int) -> list[Figure]:
    pids = (*daemon.daemon_pids(), *daemon.monitors())
    before, children, began = process_seconds(pids), children_seconds(pids), time.monotonic()
    with ThreadPoolExecutor(_CALLERS) as callers:
        calls: list[Future[float]] = []
        for number in range(rate * seconds):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            calls.append(callers.submit(_probe, daemon, containers[number % len(containers)]))
        failures = [call for call in calls if call.exception() is not None]
    took = time.monotonic() - began
    cpu = (process_seconds(pids) - before) / took * 100
    latencies = [call.result() for call in calls if call not in failures]
    return [
        Figure(title=f"{rate} exec probes a second: failures", value=len(failures), unit="of all", goal=0),
        Figure(title="daemon and shims, CPU", value=cpu, unit="% of a core", goal=60),
        Figure(
            title="the probes' own processes, CPU", value=(children_seconds(pids) - children) / took * 100, unit="%"
        ),
        Figure(title="probes a second, reached", value=len(calls) / took, unit="/s"),
        Figure(title="a probe's p50", value=statistics.median(latencies), unit="ms"),
    ]


def _probe(daemon: Daemon, container: str) -> float:
    began = time.perf_counter()
    request = pb.ExecSyncRequest(container_id=container, cmd=["true"], timeout=_TIMEOUT_S)
    answer = daemon.client.runtime.ExecSync(request, timeout=_TIMEOUT_S + 5)
    if answer.exit_code:
        raise ValueError(f"the probe ended with {answer.exit_code}")
    return (time.perf_counter() - began) * 1000
