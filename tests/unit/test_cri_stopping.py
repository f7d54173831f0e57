from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from cri import stopping
from cri.daemon import Daemon
from cri.errors import Unavailable
from cri.host import process_state
from cri.state.machine import ContainerState
from cri.stopping import kill_container, stop_container
from oci.protocol.messages import ContainerHandles
from oci.shim import records as exit_records
from tests.unit.cri_daemon import FakeShim, add_container, add_pod, exit_event, make_daemon, until


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    yield made
    await made.reconciler.close()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


async def test_a_container_that_obeys_its_signal_is_not_killed(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_handles", lambda pid, number: True)
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    await stop_container(daemon, record, 30)
    assert daemon.containers.need(record.id).exit_code == 128 + signal.SIGTERM
    assert shim.calls == ["kill"]


async def test_the_signal_is_sent_again_once_there_is_a_handler(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, False, True])
    monkeypatch.setattr(stopping, "_handles", lambda pid, number: next(answers))
    monkeypatch.setattr(stopping, "_RESEND_INTERVAL_S", 0.001)
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    shim.obeys = False
    stop = asyncio.ensure_future(stop_container(daemon, record, 30))
    await until(lambda: shim.calls.count("kill") == 2)
    shim.exit(record.id, 0)
    await stop
    assert shim.calls == ["kill", "kill"]


async def test_a_handler_that_came_while_the_signal_was_sent_gets_another(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel dropped the first: it came before the handler, and the process must not wait for its kill."""
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    shim.obeys = False
    kill = shim.kill

    async def send(container_id: str, number: int, *, all: bool = False) -> None:
        await kill(container_id, number, all=all)
        shim.obeys = True  # from now on there is a handler

    monkeypatch.setattr(shim, "kill", send)
    monkeypatch.setattr(stopping, "_handles", lambda pid, number: shim.obeys)
    await stop_container(daemon, record, 3600)
    assert shim.calls.count("kill") == 2


async def test_the_shortest_grace_counts(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_handles", lambda pid, number: True)
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    shim.obeys = False
    patient = asyncio.ensure_future(stop_container(daemon, record, 1000))
    await shim.event("kill").wait()
    shim.obeys = True
    await stop_container(daemon, record, 0)
    await patient
    assert daemon.containers.need(record.id).exit_code == 137


async def test_what_cannot_be_killed_is_said_and_where_it_sleeps(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "KILL_DEADLINE_S", 0.01)
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    shim.obeys = False
    with pytest.raises(Unavailable, match=f"process {os.getpid()} is still there"):
        await kill_container(daemon, record)


def orphan(daemon: Daemon, shim: FakeShim, child: subprocess.Popen[bytes]) -> str:
    """A container that is a real process."""
    record = add_container(daemon, shim, pid=child.pid, pid_start=process_state(child.pid).start)
    daemon.live_containers[record.id].handles = ContainerHandles(pid=child.pid, pidfd=os.pidfd_open(child.pid))
    cast(Any, daemon.cgroups).on_kill = lambda path: child.kill()
    return record.id


@pytest.mark.parametrize("how", ["dead", "forgotten", "hung"])
async def test_a_kill_needs_no_shim(
    daemon: Daemon, child: subprocess.Popen[bytes], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "SIGNAL_DEADLINE_S", 0.01)
    pod, shim = add_pod(daemon)
    container_id = orphan(daemon, shim, child)
    if how == "hung":
        shim.gates["kill"] = asyncio.Event()
    elif how == "dead":
        shim.is_alive = False
    else:
        daemon.forget_pod(pod.id)
    await kill_container(daemon, daemon.containers.need(container_id))
    record = daemon.containers.need(container_id)
    assert (record.state, record.exit_code) == (ContainerState.EXITED, 137)
    daemon.forget_container(container_id)


async def test_a_stop_without_a_shim_sends_the_signal_itself(daemon: Daemon, child: subprocess.Popen[bytes]) -> None:
    pod, shim = add_pod(daemon)
    container_id = orphan(daemon, shim, child)
    daemon.forget_pod(pod.id)
    await stop_container(daemon, daemon.containers.need(container_id), 30)
    assert daemon.containers.need(container_id).exit_code == 128 + signal.SIGTERM
    assert cast(Any, daemon.cgroups).calls == []
    daemon.forget_container(container_id)


async def test_a_container_its_shim_does_not_know_has_ended_as_its_record_says(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    shim.containers.clear()
    exit_records.write(str(daemon.paths.sandbox(pod.id)), exit_event(record.id, 5 << 8))
    await kill_container(daemon, record)
    assert daemon.containers.need(record.id).exit_code == 5


async def test_a_container_nobody_holds_is_killed_by_its_cgroup(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    daemon.forget_container(record.id)
    await stop_container(daemon, record, 30)
    assert cast(Any, daemon.cgroups).calls == ["kill /pods/c"]
    assert daemon.containers.need(record.id).exit_code == 255


def test_a_process_that_is_gone_needs_no_second_signal() -> None:
    assert stopping._handles(2**22 + 1, 15)
