"""What the demo shows of a running pod. Each function answers lines, or raises what went wrong."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from pathlib import Path

from cri.api import runtime_pb2 as pb
from e2e.client import Client


class WrongPage(Exception):
    def __init__(self, host: str, port: int, problem: str) -> None:
        super().__init__(f"http://{host}:{port}/: {problem}")


def fetch(host: str, port: int, *, expected: str, patience: float = 10) -> list[str]:
    """The page at host:port, which must hold `expected`; the server inside has a moment to come up."""
    deadline = time.monotonic() + patience
    while True:
        try:
            page = _get(host, port)
        except (OSError, http.client.HTTPException) as error:
            problem = str(error)
        else:
            if expected in page:
                return page.splitlines()
            problem = f"lacks {expected!r}: {page!r}"
        if time.monotonic() > deadline:
            raise WrongPage(host, port, problem)
        time.sleep(0.05)


def _get(host: str, port: int) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def containers(client: Client, sandbox: str) -> dict[str, pb.Container]:
    """Those of a pod, by name."""
    mine = pb.ContainerFilter(pod_sandbox_id=sandbox)
    listed = client.runtime.ListContainers(pb.ListContainersRequest(filter=mine)).containers
    return {container.metadata.name: container for container in listed}


def logs(client: Client, listed: dict[str, pb.Container]) -> list[str]:
    lines = []
    for name, container in sorted(listed.items()):
        lines.append(f"{name}:")
        lines += [f"  {line}" for line in Path(client.status(container.id).log_path).read_text().splitlines()[-4:]]
    return lines


def run(client: Client, container: str, command: Sequence[str]) -> list[str]:
    answer = client.exec(container, *command)
    if answer.exit_code:
        raise RuntimeError(f"{' '.join(command)} ended with {answer.exit_code}: {answer.stderr.decode()}")
    return [f"$ {' '.join(command)}", *answer.stdout.decode().splitlines()]


def stats(client: Client, listed: dict[str, pb.Container]) -> list[str]:
    lines = []
    for name, container in sorted(listed.items()):
        request = pb.ContainerStatsRequest(container_id=container.id)
        figures = client.runtime.ContainerStats(request).stats
        lines.append(
            f"{name}: cpu {figures.cpu.usage_core_nano_seconds.value / 1e6:.1f} ms, "
            f"memory {figures.memory.working_set_bytes.value / 1e6:.2f} MB, "
            f"written {figures.writable_layer.used_bytes.value / 1e3:.0f} kB"
        )
    return lines
