"""The launcher that dies at the wrong moment."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import oci
from cri.shims import Launcher, Shim, ShimGone, ShimState
from cri.shims.process import LauncherProcess
from oci.protocol import forking
from oci.protocol.forking import ForkShim


class Process:
    """A launcher's process that does what the test says with a request."""

    is_alive = True

    def __init__(self, fork: Callable[[], int]) -> None:
        self._fork = fork

    async def fork(self, request: ForkShim, listener: socket.socket, peer: socket.socket) -> int:
        return self._fork()


def dies() -> int:
    raise ShimGone("launcher", "exited")


def launcher(*forks: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Launcher:
    made = Launcher()
    processes = iter([Process(fork) for fork in forks])

    async def running() -> Any:
        return next(processes)

    monkeypatch.setattr(made, "_running", running)
    return made


async def test_one_that_died_before_it_forked_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = await launcher(dies, lambda: 77, monkeypatch=monkeypatch).fork_shim("s", str(tmp_path))
    assert shim.pid == 77
    shim.disconnect()


async def test_a_shim_it_could_not_tell_of_any_more_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        pid = 1

        async def describe(self) -> ShimState:
            return ShimState(sandbox_id="s", pid=78)

    async def connect(sandbox_id: str, directory: str) -> Any:
        return Found()

    monkeypatch.setattr(Shim, "connect", connect)
    shim = await launcher(dies, monkeypatch=monkeypatch).fork_shim("s", str(tmp_path))
    assert shim.pid == 78


async def test_a_fork_that_failed_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ShimGone):
        await launcher(dies, dies, monkeypatch=monkeypatch).fork_shim("s", str(tmp_path))
    assert set(os.listdir("/proc/self/fd")) == before


async def test_one_that_starts_says_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    class Starting:
        is_alive = True
        ended = False

        def __init__(self, **_: Any) -> None:
            self.becomes_ready: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
            made.append(self)

        async def ready(self) -> list[str]:
            return await self.becomes_ready

        def close(self) -> None:
            self.ended = True

        kill = close

    made: list[Starting] = []
    monkeypatch.setattr("cri.shims.launcher.LauncherProcess", Starting)
    one = Launcher()
    assert one.starting_seconds == 0
    given_up = asyncio.create_task(one.start())
    await asyncio.sleep(0)
    assert one.starting_seconds > 0
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert (one.starting_seconds, made[0].ended) == (0, True)
    starting = asyncio.create_task(one.start())
    await asyncio.sleep(0)
    made[1].becomes_ready.set_result([])
    await starting
    assert (one.starting_seconds, made[1].ended) == (0, False)


async def test_one_that_hangs_at_its_start_is_killed_and_the_next_gets_more_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[object] = []

    class Hanging:
        is_alive = True

        def __init__(self, **_: Any) -> None:
            pass

        async def ready(self) -> list[str]:
            if len(ended) == 2:
                return []
            await asyncio.Event().wait()
            raise AssertionError

        def close(self) -> None:
            pass

        def kill(self) -> None:
            ended.append(self)

    monkeypatch.setattr("cri.shims.launcher.LauncherProcess", Hanging)
    monkeypatch.setattr("cri.shims.launcher._PATIENCE_SECONDS", 0.01)
    one = Launcher()
    for waited in (0.01, 0.02):
        assert one._patience == waited
        with pytest.raises(ShimGone, match="was not ready within"):
            await one.start()
    assert len(ended) == 2
    await one.start()
    assert one._patience == 0.01


def test_one_whose_daemon_is_killed_meanwhile_ends_quietly() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    root = Path(oci.__file__).parent.parent
    code = f"import os, sys; os.dup2({theirs.fileno()}, 3); from oci.launcher import main; main([])"
    with theirs:
        done = subprocess.run([sys.executable, "-c", code], pass_fds=[theirs.fileno()], capture_output=True, cwd=root)
    assert (done.returncode, done.stderr.decode()) == (0, "")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def process_over(ours: socket.socket) -> LauncherProcess:
    """As much of a launcher's process as a request needs."""
    made = LauncherProcess.__new__(LauncherProcess)
    loop = asyncio.get_running_loop()
    state = cast(Any, made)
    state._loop, state._socket, state._waiting, state.is_alive = loop, ours, deque(), True
    ours.setblocking(False)
    loop.add_reader(ours, state._readable)
    return made


async def test_a_request_to_a_dead_launcher_says_that_it_is_dead() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = process_over(ours)
    theirs.close()
    with socket.socket(socket.AF_UNIX) as some, pytest.raises(ShimGone):
        await process.fork(ForkShim(sandbox_id="s", directory="/d"), some, some)
    assert not process.is_alive


async def test_a_shim_nobody_waits_for_any_more_is_ended(child: subprocess.Popen[bytes]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = process_over(ours)
    with theirs, socket.socket(socket.AF_UNIX) as some:
        fork = asyncio.ensure_future(process.fork(ForkShim(sandbox_id="s", directory="/d"), some, some))
        await asyncio.sleep(0)
        fork.cancel()
        await asyncio.gather(fork, return_exceptions=True)
        theirs.send(forking.pack_answer(child.pid))
        assert await asyncio.to_thread(child.wait, 10) == -signal.SIGKILL
        process.close()


async def test_a_shim_that_takes_no_calls_is_called_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cri.shims.shim._BUSY_PAUSE_S", 0.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as busy:
        busy.bind(str(tmp_path / "shim.sock"))
        busy.listen(0)
        first = await Shim.connect("s", str(tmp_path))
        waiting = asyncio.ensure_future(Shim.connect("s", str(tmp_path)))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        accepted, _ = busy.accept()
        second = await waiting
        accepted.close()
        first.disconnect()
        second.disconnect()
