"""ExecSync: exec probes and lifecycle hooks."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import UNKNOWN_ID, Pods, security
from e2e.pods import Container, failure, refused, until
from e2e.processes import SLOWNESS

#: The kubelet's client receives no message larger than this.
MESSAGE_LIMIT = 16 * 1024 * 1024


@pytest.fixture
def container(pods: Pods) -> Container:
    return pods.start(pods.run())


def test_output_and_code_come_apart(client: Client, container: Container) -> None:
    answer = client.exec(container.id, "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 42)


def test_a_signal_is_128_and_its_number(client: Client, container: Container) -> None:
    assert client.exec(container.id, "sh", "-c", "kill -9 $$").exit_code == 137


def test_output_is_bytes(client: Client, container: Container) -> None:
    assert client.exec(container.id, "printf", r"\000\377\r\n").stdout == b"\x00\xff\r\n"


@pytest.mark.parametrize("where", ["", " >&2", " | tee /dev/stderr"])
def test_endless_output_is_cut_to_fit_a_message(client: Client, container: Container, where: str) -> None:
    """proto: output is capped at 16 MiB; client: it receives 16 MiB for the whole message, both streams included."""
    answer = client.exec(container.id, "sh", "-c", f"head -c 20000000 /dev/zero{where}")
    assert answer.exit_code == 0
    assert 1024 * 1024 < answer.ByteSize() <= MESSAGE_LIMIT


def test_a_timeout_is_deadline_exceeded_and_ends_the_command(client: Client, container: Container) -> None:
    """client: only this code makes a probe fail as timed out; any other counts as unknown."""
    began = time.monotonic()
    refused(lambda: client.exec(container.id, "sleep", "4321", timeout=1), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert time.monotonic() - began < 15 * SLOWNESS
    until(lambda: b"4321" not in client.exec(container.id, "ps").stdout)


def test_no_timeout_means_no_limit(client: Client, container: Container) -> None:
    """proto: 0 is "for ever"."""
    request = pb.ExecSyncRequest(container_id=container.id, cmd=["sleep", "2"], timeout=0)
    assert client.runtime.ExecSync(request, timeout=60).exit_code == 0


def test_a_caller_that_gives_up_ends_the_command(client: Client, container: Container) -> None:
    """A cancelled call must not leave its command behind: a probe repeats every few seconds."""
    request = pb.ExecSyncRequest(container_id=container.id, cmd=["sleep", "8765"], timeout=0)
    refused(lambda: client.runtime.ExecSync(request, timeout=1), grpc.StatusCode.DEADLINE_EXCEEDED)
    until(lambda: b"8765" not in client.exec(container.id, "ps").stdout)


def test_a_child_that_stays_does_not_hold_the_answer(client: Client, container: Container) -> None:
    """The answer comes with the end of the command, not with the end of its last descendant."""
    answer = client.exec(container.id, "sh", "-c", "sleep 60 > /dev/null 2>&1 & echo started", timeout=20)
    assert (answer.stdout, answer.exit_code) == (b"started\n", 0)


def test_it_runs_with_the_containers_user_environment_and_rights(pods: Pods, client: Client) -> None:
    context = security(
        run_as_user=pb.Int64Value(value=1234),
        run_as_group=pb.Int64Value(value=1235),
        supplemental_groups=[1236],
        no_new_privs=True,
        capabilities=pb.Capability(drop_capabilities=["ALL"]),
    )
    container = pods.start(pods.run(), security=context, env={"COLOUR": "green"})
    assert client.exec(container.id, "id", "-u").stdout == b"1234\n"
    assert client.exec(container.id, "id", "-G").stdout.split() == [b"1235", b"1236"]
    assert client.exec(container.id, "sh", "-c", "echo $COLOUR").stdout == b"green\n"
    lines = client.exec(container.id, "cat", "/proc/self/status").stdout.decode().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert (fields["NoNewPrivs"], int(fields["CapEff"], 16)) == ("1", 0)


def test_a_missing_command_is_named(client: Client, container: Container) -> None:
    """kubelet: the probe's event shows this text."""
    assert "/no/such/program" in str(failure(lambda: client.exec(container.id, "/no/such/program")).details())


def test_only_in_a_running_container(pods: Pods, client: Client) -> None:
    pod = pods.run()
    created = pods.create(pod, "true", name="created")
    failure(lambda: client.exec(created.id, "true"))
    ended, _ = pods.run_to_end("true", pod=pod, name="ended")
    failure(lambda: client.exec(ended.id, "true"))
    refused(lambda: client.exec(UNKNOWN_ID, "true"), grpc.StatusCode.NOT_FOUND)


def test_it_needs_a_command(client: Client, container: Container) -> None:
    failure(lambda: client.exec(container.id))


def test_many_at_once_do_not_mix(client: Client, container: Container) -> None:
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda n: client.exec(container.id, "echo", str(n)).stdout, range(32)))
    assert answers == [f"{n}\n".encode() for n in range(32)]
