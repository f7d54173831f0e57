from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from cri import exits
from cri.daemon import Daemon
from cri.host import process_state
from cri.shims import Shim, ShimGone
from cri.state.machine import ContainerState, SandboxState
from oci.protocol.messages import InitExited
from tests.unit.cri_daemon import add_container, add_pod, exit_event, make_daemon


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    yield made
    await made.reconciler.close()


@pytest.mark.parametrize(
    ("status", "oom_kills", "code", "reason"),
    [
        (0, 0, 0, "Completed"),
        (0, 1, 0, "Completed"),
        (3 << 8, 0, 3, "Error"),
        (9, 0, 137, "Error"),
        (9, 1, 137, "OOMKilled"),
        (1 << 8, 1, 1, "OOMKilled"),
    ],
)
async def test_the_kubelets_words(daemon: Daemon, status: int, oom_kills: int, code: int, reason: str) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    exits.on_event(daemon, shim.sandbox_id, exit_event(record.id, status, oom_kills))
    now = daemon.containers.need(record.id)
    assert (now.state, now.exit_code, now.reason, now.finished_at) == (ContainerState.EXITED, code, reason, 7)


async def test_a_second_report_changes_nothing(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    for status in (3 << 8, 4 << 8):
        exits.on_event(daemon, shim.sandbox_id, exit_event(record.id, status))
    assert daemon.containers.need(record.id).exit_code == 3


async def test_an_exit_of_nobody_is_no_trouble(daemon: Daemon) -> None:
    exits.on_event(daemon, "x", exit_event("unknown"))


async def test_a_full_disk_does_not_hide_an_exit(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)

    class Full:
        def execute(self, *_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(daemon.containers, "_database", Full())
    exits.on_event(daemon, shim.sandbox_id, exit_event(record.id))
    assert daemon.live_containers[record.id].exited.is_set()
    assert daemon.containers.need(record.id).state is ContainerState.EXITED
    assert "disk is full" in caplog.text
    with pytest.raises(sqlite3.OperationalError):
        add_container(daemon, shim)


async def test_a_pod_without_its_init_is_over_and_is_cleaned_up(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    exits.on_event(daemon, pod.id, InitExited(pid=1, status=9))
    stopping = daemon.sandboxes.need(pod.id)
    assert (stopping.state, stopping.reason) == (SandboxState.STOPPING, "the init of its shared PID namespace died")
    await daemon.reconciler.finish()
    assert daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY
    assert daemon.containers.need(record.id).state is ContainerState.EXITED


async def test_a_dead_shim_is_replaced_by_one_that_has_its_containers(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(sandbox_id: str, directory: str) -> Shim:
        raise ShimGone("shim", "nothing listens")

    monkeypatch.setattr(Shim, "connect", nobody)
    pod, shim = add_pod(daemon)
    running = add_container(daemon, shim)
    created = add_container(daemon, shim, ContainerState.CREATED)
    add_container(daemon, shim, ContainerState.EXITED)
    cast(Any, daemon.launcher).failure = OSError("out of processes")
    shim.die()
    assert daemon.pods[pod.id].shim is None
    await asyncio.sleep(0)
    cast(Any, daemon.launcher).failure = None
    replaced = await daemon.shim_of(pod.id)
    assert cast(Any, replaced).containers == {running.id: "running", created.id: "created"}
    assert daemon.sandboxes.need(pod.id).state is SandboxState.READY


async def test_a_connection_that_broke_does_not_make_two_shims(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    pod, shim = add_pod(daemon)

    async def found(sandbox_id: str, directory: str) -> Any:
        return shim

    monkeypatch.setattr(Shim, "connect", found)
    shim.die()
    await daemon.shim_of(pod.id)
    assert shim.killed


async def test_the_shim_of_a_pod_that_ends_is_not_replaced(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon, SandboxState.STOPPING)
    shim.die()
    assert daemon.pods[pod.id].repairing is None


@pytest.fixture
def forked() -> Iterator[int]:
    """A process that has executed nothing since it was forked."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


async def test_a_start_that_no_shim_told_of_is_seen_by_the_kernel_s_flag(daemon: Daemon, forked: int) -> None:
    pod, shim = add_pod(daemon)
    here = os.getpid()  # it has executed the interpreter
    executed, waiting, another = (add_container(daemon, shim, ContainerState.CREATED) for _ in range(3))
    for record, pid, start in (
        (executed, here, process_state(here).start),
        (waiting, forked, process_state(forked).start),
        (another, here, 1),  # the pid is another process's by now
    ):
        daemon.containers.put(record.with_(pid=pid, pid_start=start))
    exits.apply_unheard_starts(daemon, pod.id)
    assert daemon.containers.need(executed.id).state is ContainerState.RUNNING
    assert daemon.containers.need(executed.id).started_at > 0
    assert daemon.containers.need(waiting.id).state is ContainerState.CREATED
    assert daemon.containers.need(another.id).state is ContainerState.CREATED


async def test_a_start_under_way_is_left_to_who_asked_for_it(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim, ContainerState.CREATED)
    daemon.containers.put(record.with_(pid=os.getpid(), pid_start=process_state(os.getpid()).start))
    async with daemon.live_containers[record.id].starting:
        exits.apply_unheard_starts(daemon, pod.id)
    assert daemon.containers.need(record.id).state is ContainerState.CREATED
