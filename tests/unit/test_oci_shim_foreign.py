from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from oci.shim import foreign
from oci.shim.loop import Loop


def fault(error: BaseException) -> None:
    raise error


@pytest.fixture
def loop() -> Iterator[Loop]:
    opened = Loop(fault)
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_the_end_is_seen_while_nobody_has_reaped_it(loop: Loop, child: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(child.pid)
    seen: list[int] = []
    foreign.watch(loop, child.pid, pidfd, seen.append)
    loop.turn(0)
    assert seen == []
    child.send_signal(signal.SIGTERM)
    loop.turn(10)
    assert seen == [signal.SIGTERM]
    loop.turn(0)
    assert seen == [signal.SIGTERM], "once"
    os.close(pidfd)


def test_the_status_of_a_zombie(child: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(child.pid)
    assert foreign.exit_status(child.pid, pidfd) is None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert foreign.exit_status(child.pid, pidfd) == signal.SIGKILL
    os.close(pidfd)


def test_a_number_that_somebody_else_has_tells_nothing(child: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(child.pid)
    child.kill()
    child.wait()
    assert foreign.exit_status(os.getpid(), pidfd) in (None, signal.SIGKILL)
    os.close(pidfd)
