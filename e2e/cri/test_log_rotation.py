"""ReopenContainerLog: the kubelet renames a log that has grown, then asks for a new one."""

from __future__ import annotations

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import UNKNOWN_ID, Pods
from e2e.pods import Container, failure, refused, until


def reopen(client: Client, container: str) -> None:
    client.runtime.ReopenContainerLog(pb.ReopenContainerLogRequest(container_id=container), timeout=30)


@pytest.fixture
def talker(pods: Pods) -> Container:
    script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"
    container = pods.start(pods.run(), "sh", "-c", script)
    pods.wait_for_line(container, "stdout F 5")
    return container


def test_the_new_file_is_there_when_the_call_returns(client: Client, talker: Container) -> None:
    """kubelet: a missing file counts as a failed rotation."""
    talker.log.rename(talker.log.with_suffix(".rotated"))
    reopen(client, talker.id)
    assert talker.log.exists()


def test_no_line_is_lost_or_doubled_by_a_rotation(client: Client, talker: Container) -> None:
    """Every line is in the old file or in the new one, in order; the old one no longer grows."""
    rotated = talker.log.with_suffix(".rotated")
    talker.log.rename(rotated)
    reopen(client, talker.id)
    before = rotated.read_text()
    until(lambda: talker.log.stat().st_size > 0)
    assert rotated.read_text() == before
    client.stop(talker.id, timeout=0)
    numbers = [int(line.split(" ")[3]) for line in (before + talker.log.read_text()).splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_rotations_in_a_row(client: Client, talker: Container) -> None:
    for number in range(3):
        talker.log.rename(talker.log.with_suffix(f".{number}"))
        reopen(client, talker.id)
        until(lambda: talker.log.stat().st_size > 0)


def test_without_a_rename_the_file_goes_on(client: Client, talker: Container) -> None:
    size = talker.log.stat().st_size
    reopen(client, talker.id)
    until(lambda: talker.log.stat().st_size > size)
    assert talker.text()[0] == "1"


def test_not_running_is_an_error_and_makes_no_file(pods: Pods, client: Client) -> None:
    """proto: once it errs, no new file may exist; the kubelet then renames the old one back."""
    container, _ = pods.run_to_end("echo", "x")
    container.log.rename(container.log.with_suffix(".rotated"))
    failure(lambda: reopen(client, container.id))
    assert not container.log.exists()


def test_an_unknown_container_is_not_found(client: Client) -> None:
    refused(lambda: reopen(client, UNKNOWN_ID), grpc.StatusCode.NOT_FOUND)
