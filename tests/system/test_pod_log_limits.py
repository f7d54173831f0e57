"""A container that logs more than it may: the log stays small, the container goes on, the figure is served."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Callable

import pytest

from cri.api import runtime_pb2 as pb
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames
from e2e.pods import until
from tests.system.pods import Pods

_SIZE = 200_000


@pytest.fixture(scope="module")
def metrics_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def daemon(make_daemon: Callable[..., Daemon], images: ImageNames, metrics_address: str) -> Daemon:
    started = make_daemon(
        flags=(
            f"--runtime-log-size-max={_SIZE}",
            "--runtime-log-rate-limit=100000",
            f"--metrics-address={metrics_address}",
        )
    )
    started.client.pull(images.busybox)
    return started


def counted(address: str) -> float:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r"^\S*containers_log_dropped_bytes_total (\S+)$", text, re.MULTILINE)
    assert found
    return float(found[1])


def test_a_flood_is_cut_told_and_counted(pods: Pods, metrics_address: str) -> None:
    before = counted(metrics_address)
    container, ended = pods.run_to_end("seq", "1", "300000")
    assert ended.exit_code == 0
    assert container.log.stat().st_size <= 101_000
    told = [int(text.split()[4]) for text in container.text() if text.startswith("coracle: log limit reached")]
    assert told
    assert counted(metrics_address) - before == sum(told)


def test_a_file_is_never_longer_than_its_limit_and_the_next_one_begins_anew(pods: Pods) -> None:
    container = pods.start(pods.run(), "sh", "-c", "while :; do seq 1 10000; usleep 300000; done")
    pods.wait_for_line(container, "this file takes no more than")
    assert container.log.stat().st_size <= _SIZE
    container.log.rename(container.log.with_suffix(".old"))
    pods.client.runtime.ReopenContainerLog(pb.ReopenContainerLogRequest(container_id=container.id))
    pods.wait_for_line(container, "bytes dropped")
    until(lambda: len(container.text()) > 10)
    assert container.log.with_suffix(".old").stat().st_size <= _SIZE
    assert pods.client.status(container.id).state == pb.ContainerState.CONTAINER_RUNNING
