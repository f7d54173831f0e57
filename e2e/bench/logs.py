"""How fast a container can log: 200 MB of 100-byte lines through the runtime into its log file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from cri.api import runtime_pb2 as pb
from e2e.bench.bed import LINES, Contender
from e2e.bench.cpu import process_seconds

_LINE: Final = 100


def measure(contender: Contender, megabytes: int) -> dict[str, float]:
    """`cat` of a file of lines, over and over: it writes far faster than any runtime reads."""
    times = max(1, megabytes * 1_000_000 // (LINES * _LINE))
    client, pod = contender.client, contender.pod()
    config = contender.container("sh", "-c", f"i=0; while [ $i -lt {times} ]; do cat /lines; i=$((i+1)); done")
    sandbox = client.run_pod(pod)
    container = client.create(sandbox, config, pod)
    log = Path(pod.log_directory) / config.log_path
    began = time.monotonic()
    before = process_seconds(_pids(contender))
    client.start(container)
    shims = _pids(contender)
    cpu = 0.0
    while client.status(container).state != pb.ContainerState.CONTAINER_EXITED:
        # A shim may end with its container: what it had used is read while it lives.
        cpu = max(cpu, process_seconds(shims))
        time.sleep(0.02)
    seconds = _until_quiet(log) - began
    cpu = max(cpu, process_seconds(shims)) - before
    whole, parts = _count(log)
    if whole != times * LINES:
        raise ValueError(f"{contender.name}: {log} has {whole} whole lines of {times * LINES}")
    client.stop_pod(sandbox)
    client.remove_pod(sandbox)
    log.unlink()
    total = times * LINES * _LINE / 1_000_000
    return {"log_rate": total / seconds, "log_cpu": cpu * 200 / total, "log_split": float(parts)}


def _pids(contender: Contender) -> tuple[int, ...]:
    return (*contender.runtime.daemon_pids(), *contender.runtime.monitors())


def _until_quiet(log: Path) -> float:
    """The moment of the last change of a file that has not grown for half a second."""
    size, changed = log.stat().st_size, time.monotonic()
    while time.monotonic() - changed < 0.5:
        time.sleep(0.01)
        if log.stat().st_size != size:
            size, changed = log.stat().st_size, time.monotonic()
    return changed


def _count(log: Path) -> tuple[int, int]:
    """Lines that are whole in one entry or end one (F), and entries that are only a part (P)."""
    whole = parts = 0
    with log.open("rb") as file:
        for line in file:
            if line.split(b" ", 3)[2][:1] == b"F":
                whole += 1
            else:
                parts += 1
    return whole, parts
