"""ExecSync: output apart, exit codes, timeouts, who the process is, many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.pods import refused, until
from tests.system.pods import Pods


def test_output_and_exit_code_come_apart(pods: Pods) -> None:
    container = pods.start(pods.run())
    answer = pods.client.exec(container.id, "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 42)
    assert pods.client.exec(container.id, "sh", "-c", "kill -9 $$").exit_code == 137


def test_bytes_come_back_as_they_are(pods: Pods) -> None:
    container = pods.start(pods.run())
    answer = pods.client.exec(container.id, "printf", r"\000\377\n\r\012")
    assert answer.stdout == b"\x00\xff\n\r\n"
    large = pods.client.exec(container.id, "sh", "-c", "head -c 3000000 /dev/zero")
    assert len(large.stdout) == 3_000_000


def test_a_command_that_outlives_its_timeout_is_killed(pods: Pods) -> None:
    container = pods.start(pods.run())
    refused(
        lambda: pods.client.exec(container.id, "sleep", "4321", timeout=1),
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "sleep",
    )
    until(lambda: b"4321" not in pods.client.exec(container.id, "ps").stdout)


def test_a_command_may_leave_a_child_behind(pods: Pods) -> None:
    """The answer comes when the command ends and its output is read, not when its last descendant does."""
    container = pods.start(pods.run())
    answer = pods.client.exec(container.id, "sh", "-c", "sleep 60 > /dev/null 2>&1 & echo started")
    assert answer.stdout == b"started\n"


def test_a_missing_command_is_named(pods: Pods) -> None:
    container = pods.start(pods.run())
    with pytest.raises(grpc.RpcError) as caught:
        pods.client.exec(container.id, "/no/such/program")
    assert isinstance(caught.value, grpc.Call)
    assert "/no/such/program" in (caught.value.details() or "")


def test_it_runs_as_the_container_does(pods: Pods) -> None:
    security = pb.LinuxContainerSecurityContext(
        run_as_user=pb.Int64Value(value=1234),
        run_as_group=pb.Int64Value(value=1235),
        supplemental_groups=[1236],
        no_new_privs=True,
        capabilities=pb.Capability(drop_capabilities=["ALL"]),
    )
    container = pods.start(pods.run(), security=security, env={"COLOUR": "green"})
    assert pods.client.exec(container.id, "id", "-u").stdout == b"1234\n"
    assert pods.client.exec(container.id, "id", "-G").stdout.split() == [b"1235", b"1236"]
    assert pods.client.exec(container.id, "sh", "-c", "echo $COLOUR").stdout == b"green\n"
    status = pods.client.exec(container.id, "cat", "/proc/self/status").stdout.decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0


def test_it_is_in_the_containers_cgroup(pods: Pods) -> None:
    container = pods.start(pods.run())
    mine = pods.client.exec(container.id, "cat", "/proc/self/cgroup").stdout
    assert mine == pods.client.exec(container.id, "cat", "/proc/1/cgroup").stdout


def test_many_at_once(pods: Pods) -> None:
    container = pods.start(pods.run())
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda n: pods.client.exec(container.id, "echo", str(n)).stdout, range(64)))
    assert answers == [f"{n}\n".encode() for n in range(64)]


def test_not_in_a_container_that_does_not_run(pods: Pods) -> None:
    pod = pods.run()
    created = pods.create(pod, "true", name="created")
    refused(lambda: pods.client.exec(created.id, "true"), grpc.StatusCode.FAILED_PRECONDITION, created.id[:12])
    ended, _ = pods.run_to_end("true", pod=pod, name="ended")
    refused(lambda: pods.client.exec(ended.id, "true"), grpc.StatusCode.FAILED_PRECONDITION, ended.id[:12])
