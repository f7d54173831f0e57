"""Fifty pods at rest: memory of the daemon and beside it, idle CPU under the kubelet's relist, lists, a restart."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from cri.api import runtime_pb2 as pb
from e2e.bench.bed import WORKLOAD, Contender
from e2e.bench.cpu import memory, process_seconds
from e2e.client import Client


def measure(contender: Contender, pods: int, idle_seconds: int) -> dict[str, float]:
    contender.runtime.stop()  # what earlier measures left in its caches is not the daemon's own weight
    contender.runtime.start()
    values = {"daemon_empty": memory(contender.runtime.daemon_pids())[0]}
    sandboxes = [_pod(contender) for _ in range(pods)]
    time.sleep(1)
    values["daemon_crowd"], values["daemon_private"] = memory(contender.runtime.daemon_pids())
    values["pod_memory"] = memory(contender.runtime.monitors())[0] / pods
    values |= _lists(contender.client)
    values["idle_cpu"] = _idle(contender, idle_seconds)
    _wait_for_merging()
    values["pod_memory_settled"] = memory(contender.runtime.monitors())[0] / pods
    values["restart"] = _restart(contender, pods)
    with Client(contender.runtime.endpoint) as client:
        for sandbox in sandboxes:
            client.stop_pod(sandbox)
            client.remove_pod(sandbox)
    return values


def _wait_for_merging() -> None:
    """Until the kernel's same-page merging, where it runs, has been through everything four times; 4 minutes at most.

    A page must be found unchanged twice before it is merged, and the first round only takes note.
    """
    directory = Path("/sys/kernel/mm/ksm")
    if not (directory / "run").exists() or (directory / "run").read_text().strip() != "1":
        return
    scans = directory / "full_scans"
    last, deadline = int(scans.read_text()) + 4, time.monotonic() + 240
    while int(scans.read_text()) < last and time.monotonic() < deadline:
        time.sleep(1)


def _pod(contender: Contender) -> str:
    client, pod = contender.client, contender.pod()
    sandbox = client.run_pod(pod)
    client.start(client.create(sandbox, contender.container(*WORKLOAD), pod))
    return sandbox


def _lists(client: Client) -> dict[str, float]:
    return {"list_pods": _median_ms(client.pods), "list_containers": _median_ms(client.containers)}


def _median_ms(call: Callable[[], object], times: int = 100) -> float:
    samples = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        samples.append((time.perf_counter() - began) * 1000)
    return statistics.median(samples)


def _idle(contender: Contender, seconds: int) -> float:
    """Percent of a core that the daemon and its monitors take while both lists are asked for once a second."""
    pids = (*contender.runtime.daemon_pids(), *contender.runtime.monitors())
    before, began = process_seconds(pids), time.monotonic()
    for tick in range(seconds):
        contender.client.pods()
        contender.client.containers()
        time.sleep(max(0.0, began + tick + 1 - time.monotonic()))
    return (process_seconds(pids) - before) / (time.monotonic() - began) * 100


def _restart(contender: Contender, pods: int) -> float:
    """Seconds from the start of a new daemon (the old one killed) until its lists name every pod as running."""
    contender.runtime.kill()
    began = time.monotonic()
    contender.runtime.start()
    with Client(contender.runtime.endpoint) as client:
        while not _complete(client, pods):
            if time.monotonic() - began > 60:
                raise TimeoutError(f"{contender.name} does not list its {pods} pods 60 s after a restart")
            time.sleep(0.01)
    return time.monotonic() - began


def _complete(client: Client, pods: int) -> bool:
    ready = sum(pod.state == pb.PodSandboxState.SANDBOX_READY for pod in client.pods())
    running = sum(one.state == pb.ContainerState.CONTAINER_RUNNING for one in client.containers())
    return ready == pods and running == pods
