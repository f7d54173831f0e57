"""Rates with eight callers at once, and the processor time of one exec and of one pod's whole life."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from e2e.bench.bed import WORKLOAD, Contender
from e2e.bench.cpu import machine_seconds

CALLERS: Final = 8


def execs(contender: Contender, count: int) -> dict[str, float]:
    client, pod = contender.client, contender.pod()
    sandbox = client.run_pod(pod)
    container = client.create(sandbox, contender.container(*WORKLOAD), pod)
    client.start(container)

    def one() -> None:
        client.exec(container, "true")

    one()
    rate, cpu = _in_parallel(contender, one, count)
    client.stop_pod(sandbox)
    client.remove_pod(sandbox)
    return {"exec_rate": rate, "exec_cpu": cpu}


def pods(contender: Contender, count: int) -> dict[str, float]:
    client = contender.client

    def one() -> None:
        pod = contender.pod()
        sandbox = client.run_pod(pod)
        container = client.create(sandbox, contender.container(*WORKLOAD), pod)
        client.start(container)
        client.stop(container)
        client.remove(container)
        client.stop_pod(sandbox)
        client.remove_pod(sandbox)

    rate, cpu = _in_parallel(contender, one, count)
    return {"pod_rate": rate, "pod_cpu": cpu}


def _in_parallel(contender: Contender, work: Callable[[], None], count: int) -> tuple[float, float]:
    """Calls per second and CPU milliseconds per call."""
    cpu, began = machine_seconds([contender.registry_pid]), time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as callers:
        for done in [callers.submit(work) for _ in range(count)]:
            done.result()
    seconds = time.perf_counter() - began
    return count / seconds, (machine_seconds([contender.registry_pid]) - cpu) / count * 1000
