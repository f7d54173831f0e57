from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cri.api import runtime_pb2 as api
from cri.daemon import Daemon
from cri.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument
from cri.runtime_service.exec_sync import exec_sync
from cri.state.machine import ContainerState
from oci.protocol.messages import ExecStart
from oci.spec import Process, User
from tests.descriptors import open_descriptors
from tests.unit.cri_daemon import CALL, FakeShim, add_container, add_pod, make_daemon

MODULE = sys.modules[exec_sync.__module__]  # its package has a function of the same name


class Command:
    """What an exec in a fake shim does: writes to the pipes it is given, and ends."""

    def __init__(self, act: Callable[[int, int], None], pidfd: int, *, ends: bool = True) -> None:
        self._act = act
        self._ends = ends
        self.pidfd = pidfd
        self.closed = False

    async def exec(self, start: ExecStart) -> Command:
        assert start.stdout_fd is not None
        assert start.stderr_fd is not None
        stdout, stderr = os.dup(start.stdout_fd), os.dup(start.stderr_fd)
        try:
            await asyncio.to_thread(self._act, stdout, stderr)
        finally:
            os.close(stdout)
            os.close(stderr)
        return self

    async def wait(self) -> int:
        if not self._ends:
            await asyncio.Event().wait()
        return 7

    def close(self) -> None:
        self.closed = True


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    before = set(open_descriptors())
    yield made
    await made.reconciler.close()
    assert set(open_descriptors()) <= before


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture
def pidfd(child: subprocess.Popen[bytes]) -> Iterator[int]:
    fd = os.pidfd_open(child.pid)
    yield fd
    os.close(fd)


def running(daemon: Daemon, command: Command, monkeypatch: pytest.MonkeyPatch) -> api.ExecSyncRequest:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    daemon.live_containers[record.id].process = Process(cwd="/", args=("init",), user=User(uid=0, gid=0))
    monkeypatch.setattr(FakeShim, "exec", lambda self, start: command.exec(start), raising=False)
    return api.ExecSyncRequest(container_id=record.id, cmd=["it"])


async def test_output_and_code(daemon: Daemon, pidfd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(stdout: int, stderr: int) -> None:
        os.write(stdout, b"out")
        os.write(stderr, b"err")

    command = Command(act, pidfd)
    answer = await exec_sync(daemon, running(daemon, command, monkeypatch), CALL)
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out", b"err", 7)
    assert command.closed


async def test_what_is_too_much_is_read_and_not_kept(
    daemon: Daemon, pidfd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "OUTPUT_LIMIT", 100_000)

    def act(stdout: int, _: int) -> None:
        for _ in range(10):
            os.write(stdout, b"x" * 50_000)

    answer = await exec_sync(daemon, running(daemon, Command(act, pidfd), monkeypatch), CALL)
    assert answer.stdout == b"x" * 100_000


async def test_a_child_that_keeps_the_pipe_is_not_waited_for(
    daemon: Daemon, pidfd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "_DRAIN_S", 0.01)
    kept: list[int] = []

    def act(stdout: int, _: int) -> None:
        kept.append(os.dup(stdout))
        os.write(stdout, b"before")

    answer = await exec_sync(daemon, running(daemon, Command(act, pidfd), monkeypatch), CALL)
    assert answer.stdout == b"before"
    os.close(kept[0])


async def test_a_command_that_outlives_its_timeout_is_killed(
    daemon: Daemon, child: subprocess.Popen[bytes], pidfd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(lambda *_: None, pidfd, ends=False)
    request = running(daemon, command, monkeypatch)
    request.timeout = 1
    with pytest.raises(DeadlineExceeded, match="ran longer than 1 s"):
        await exec_sync(daemon, request, CALL)
    assert await asyncio.to_thread(child.wait, 10) == -signal.SIGKILL
    assert command.closed


async def test_a_caller_that_goes_away_takes_its_command_along(
    daemon: Daemon, child: subprocess.Popen[bytes], pidfd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = asyncio.Event()
    command = Command(lambda *_: None, pidfd, ends=False)
    wait = command.wait

    async def waits() -> int:
        entered.set()
        return await wait()

    monkeypatch.setattr(command, "wait", waits)
    call = asyncio.ensure_future(exec_sync(daemon, running(daemon, command, monkeypatch), CALL))
    await entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(child.wait, 10) == -signal.SIGKILL


async def test_an_exec_that_cannot_be_started_leaves_nothing_open(
    daemon: Daemon, pidfd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(*_: Any) -> None:
        raise TimeoutError(110, "Connection timed out")

    with pytest.raises(DeadlineExceeded):
        await exec_sync(daemon, running(daemon, Command(act, pidfd), monkeypatch), CALL)


async def test_what_means_nothing_is_refused(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim, ContainerState.CREATED)
    for request, problem in (
        (api.ExecSyncRequest(container_id=record.id), InvalidArgument),
        (api.ExecSyncRequest(container_id=record.id, cmd=["x"], timeout=-1), InvalidArgument),
        (api.ExecSyncRequest(container_id=record.id, cmd=["x"]), FailedPrecondition),
    ):
        with pytest.raises(problem):
            await exec_sync(daemon, request, CALL)
