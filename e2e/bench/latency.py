"""How long each RPC of a pod's life takes, one pod after the other.

The runtimes take turns pod by pod, so that a change of the machine's speed meets all of them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.bench.bed import WORKLOAD, Contender

Series = dict[str, list[float]]


def measure(contenders: Sequence[Contender], runs: int) -> dict[str, Series]:
    """Milliseconds by contender and measure. The first pod of each warms up and is not counted."""
    series: dict[str, Series] = {contender.name: defaultdict(list) for contender in contenders}
    for contender in contenders:
        _one_pod(contender, defaultdict(list))
    for _ in range(runs):
        for contender in contenders:
            _one_pod(contender, series[contender.name])
    return series


def _one_pod(contender: Contender, series: Series) -> None:
    client, pod = contender.client, contender.pod()
    config = contender.container(*WORKLOAD)
    began = time.perf_counter()
    with _timed(series, "run_pod"):
        sandbox = client.run_pod(pod)
    with _timed(series, "create"):
        container = client.create(sandbox, config, pod)
    with _timed(series, "start"):
        client.start(container)
    wait_for_content(Path(pod.log_directory) / config.log_path)
    series["first_log"].append((time.perf_counter() - began) * 1000)
    with _timed(series, "exec"):
        client.exec(container, "true")
    with _timed(series, "stop"):
        client.stop(container)
    with _timed(series, "remove"):
        client.remove(container)
    with _timed(series, "stop_pod"):
        client.stop_pod(sandbox)
    with _timed(series, "remove_pod"):
        client.remove_pod(sandbox)


def wait_for_content(log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if log.stat().st_size:
                return
        except FileNotFoundError:
            pass  # the runtime makes the file when the container starts
        if time.monotonic() > deadline:
            raise TimeoutError(f"no line in {log} within {seconds:g} s")
        time.sleep(0.0005)


@contextmanager
def _timed(series: Series, name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    series[name].append((time.perf_counter() - began) * 1000)
