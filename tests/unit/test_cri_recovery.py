"""What a new daemon makes of the records and the shims that it finds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from cri import exits, recovery
from cri.daemon import Daemon
from cri.host import process_state
from cri.shims import Shim, ShimGone
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord
from cri.stopping import kill_container
from oci.protocol.messages import ContainerExited, ContainerHandles, ShimState
from oci.protocol.messages import ContainerState as ShimContainer
from oci.shim import records as exit_records
from tests.unit.cri_daemon import FakeShim, add_container, add_pod, exit_event, make_daemon, until


class KnownShim(FakeShim):
    """What it tells a new daemon; `asked` is called while a container's handles are on their way."""

    exits: dict[str, ContainerExited]

    async def describe(self) -> ShimState:
        await self._enter("describe")
        containers = tuple(
            ShimContainer(
                container_id=container_id,
                pid=os.getpid(),
                state=state,
                bundle="/b",
                started_at=0 if state in ("creating", "created") else 5,
                exit=self.exits.get(container_id),
            )
            for container_id, state in self.containers.items()
        )
        return ShimState(sandbox_id=self.sandbox_id, pid=1, containers=containers)

    async def handles(self, container_id: str) -> ContainerHandles:
        await self._enter("handles")
        pid = 0 if self.containers[container_id] == "creating" else os.getpid()
        return ContainerHandles(pid=pid)


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    async def gone(sandbox_id: str, directory: str) -> Shim:
        raise ShimGone("shim", "nothing listens")

    monkeypatch.setattr(Shim, "connect", gone)
    made = make_daemon(tmp_path)
    yield made
    for live in list(made.live_containers):
        made.forget_container(live)
    await made.reconciler.close()
    await made.trash.close()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def restarted(daemon: Daemon, pod: SandboxRecord) -> None:
    """The records are all that is left."""
    daemon.forget_pod(pod.id)
    for container_id in list(daemon.live_containers):
        daemon.forget_container(container_id)


def finds(monkeypatch: pytest.MonkeyPatch, shim: FakeShim) -> KnownShim:
    known = KnownShim(shim.daemon, shim.sandbox_id, containers=shim.containers)
    known.exits = {}

    async def found(sandbox_id: str, directory: str) -> Any:
        return known

    monkeypatch.setattr(Shim, "connect", found)
    return known


def now(daemon: Daemon, record: ContainerRecord) -> tuple[ContainerState, int]:
    found = daemon.containers.need(record.id)
    return found.state, found.exit_code


async def test_a_living_shim_says_what_the_daemon_missed(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    pod, shim = add_pod(daemon)
    running = add_container(daemon, shim)
    started = add_container(daemon, shim, ContainerState.CREATED)
    ended = add_container(daemon, shim)
    deleted = add_container(daemon, shim)
    restarted(daemon, pod)
    known = finds(monkeypatch, shim)
    known.containers |= {started.id: "running", ended.id: "exited"}
    del known.containers[deleted.id]
    known.exits[ended.id] = exit_event(ended.id, 4 << 8)
    await recovery.recover(daemon)
    assert daemon.sandboxes.need(pod.id).state is SandboxState.READY
    assert now(daemon, running) == now(daemon, started) == (ContainerState.RUNNING, 0)
    assert now(daemon, ended) == (ContainerState.EXITED, 4)
    assert now(daemon, deleted) == (ContainerState.EXITED, 255)
    assert daemon.live_containers[ended.id].exited.is_set()


@pytest.mark.parametrize("verb", ["describe", "handles"])
async def test_an_exit_in_the_middle_is_not_lost(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    restarted(daemon, pod)
    known = finds(monkeypatch, shim)
    known.gates[verb] = asyncio.Event()
    recovering = asyncio.ensure_future(recovery.recover(daemon))
    await known.event(verb).wait()
    exits.on_event(daemon, pod.id, exit_event(record.id, 6 << 8))
    known.gates[verb].set()
    await recovering
    assert now(daemon, record) == (ContainerState.EXITED, 6)
    assert daemon.live_containers[record.id].exited.is_set()


@pytest.mark.parametrize("there", ["creating", "created", ""])
async def test_what_was_being_made_is_taken_away(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim, ContainerState.CREATING, pid=0, delivered=False)
    restarted(daemon, pod)
    known = finds(monkeypatch, shim)
    known.containers[record.id] = there
    if not there:
        del known.containers[record.id]
    elif there == "creating":
        monkeypatch.setattr(known, "kill", forgets(known))
    await recovery.recover(daemon)
    assert daemon.containers.need(record.id).state is ContainerState.REMOVING
    assert daemon.containers.list_bytes() == b""
    await daemon.reconciler.finish()
    assert daemon.containers.get(record.id) is None
    assert known.containers == {}


def forgets(known: KnownShim) -> Any:
    """As a shim does with a container whose worker is killed."""
    kill = known.kill

    async def kill_worker(container_id: str, number: int, *, all: bool = False) -> None:
        await kill(container_id, number, all=all)
        known.containers.pop(container_id, None)

    return kill_worker


async def test_a_pod_that_was_being_made_is_taken_away(daemon: Daemon) -> None:
    pod, _ = add_pod(daemon, SandboxState.CREATING)
    daemon.sandboxes.put(daemon.sandboxes.need(pod.id).with_(delivered=False))
    restarted(daemon, pod)
    await recovery.recover(daemon)
    assert daemon.sandboxes.need(pod.id).state is SandboxState.REMOVING
    assert daemon.sandboxes.list_bytes() == b""
    await daemon.reconciler.finish()
    assert daemon.sandboxes.get(pod.id) is None


async def test_after_a_boot_nothing_runs_and_everything_is_shown(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon, boot_id="another")
    record = add_container(daemon, shim)
    restarted(daemon, pod)
    await recovery.recover(daemon)
    assert daemon.sandboxes.need(pod.id).state is SandboxState.STOPPING
    ended = daemon.containers.need(record.id)
    assert (ended.exit_code, ended.reason, ended.message) == (255, "Unknown", "the node was started anew")
    await daemon.reconciler.finish()
    assert daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY


async def test_writable_layers_whose_records_the_power_took_go(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon, boot_id="another")
    known = daemon.paths.container(add_container(daemon, shim).id)
    unknown, of_this_boot = daemon.paths.container("a" * 64), daemon.paths.container("b" * 64)
    for path in (known, unknown, of_this_boot):
        (path / "upper").mkdir(parents=True)
    daemon.paths.bundle(of_this_boot.name).mkdir()  # `coracle check` tells of it: a process may stand on it
    restarted(daemon, pod)
    await recovery.recover(daemon)
    assert set(daemon.paths.container("x").parent.iterdir()) == {known, of_this_boot}


async def test_without_shim_and_process_the_record_on_disk_tells_the_end(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    told = add_container(daemon, shim, pid=2**22 + 1)
    untold = add_container(daemon, shim, pid=os.getpid(), pid_start=1)  # somebody else's number by now
    restarted(daemon, pod)
    exit_records.write(str(daemon.paths.sandbox(pod.id)), exit_event(told.id, 5 << 8))
    await recovery.recover(daemon)
    assert now(daemon, told) == (ContainerState.EXITED, 5)
    assert now(daemon, untold) == (ContainerState.EXITED, 255)
    assert daemon.sandboxes.need(pod.id).state is SandboxState.STOPPING


async def test_a_living_container_gets_a_new_shim(daemon: Daemon, child: subprocess.Popen[bytes]) -> None:
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim, pid=child.pid, pid_start=process_state(child.pid).start)
    restarted(daemon, pod)
    await recovery.recover(daemon)
    assert cast(Any, daemon.pods[pod.id].shim).containers == {record.id: "running"}
    assert now(daemon, record) == (ContainerState.RUNNING, 0)


async def test_a_zombie_has_ended(daemon: Daemon, child: subprocess.Popen[bytes]) -> None:
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim, pid=child.pid, pid_start=process_state(child.pid).start)
    restarted(daemon, pod)
    os.kill(child.pid, signal.SIGTERM)
    await until(lambda: process_state(child.pid).zombie)
    await recovery.recover(daemon)
    assert now(daemon, record) == (ContainerState.EXITED, 143)


async def test_a_pod_that_was_stopping_needs_no_shim_to_end(daemon: Daemon, child: subprocess.Popen[bytes]) -> None:
    pod, shim = add_pod(daemon, SandboxState.STOPPING)
    record = add_container(daemon, shim, pid=child.pid, pid_start=process_state(child.pid).start)
    restarted(daemon, pod)
    cast(Any, daemon.cgroups).on_kill = lambda path: child.kill()
    await recovery.recover(daemon)
    await daemon.reconciler.finish()
    assert now(daemon, record) == (ContainerState.EXITED, 137)
    assert daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY


async def test_what_cannot_be_recovered_does_not_run_on(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    restarted(daemon, pod)
    known = finds(monkeypatch, shim)

    async def broken() -> ShimState:
        raise RuntimeError("what is this")

    monkeypatch.setattr(known, "describe", broken)
    await recovery.recover(daemon)
    assert cast(Any, daemon.cgroups).calls == ["kill /pods/c"]
    assert daemon.containers.need(record.id).message == "could not be recovered: what is this"


async def test_a_shim_that_hangs_keeps_the_daemon_from_nothing(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "PATIENCE_S", 0.01)
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    restarted(daemon, pod)
    known = finds(monkeypatch, shim)
    known.gates["describe"] = asyncio.Event()
    await recovery.recover(daemon)
    assert now(daemon, record) == (ContainerState.RUNNING, 0)
    known.gates["describe"].set()
    await until(lambda: not daemon.recovering)
    await kill_container(daemon, daemon.containers.need(record.id))
    assert now(daemon, record) == (ContainerState.EXITED, 137)


async def test_a_container_without_a_pod_goes(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    restarted(daemon, pod)
    daemon.sandboxes.drop(pod.id)
    await recovery.recover(daemon)
    assert daemon.containers.need(record.id).state is ContainerState.REMOVING
