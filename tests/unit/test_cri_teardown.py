from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from cri import teardown
from cri.daemon import Daemon
from cri.errors import DeadlineExceeded
from cri.host import process_state
from cri.state.machine import ContainerState, SandboxState
from cri.teardown import remove_container, remove_sandbox, run_steps, stop_sandbox
from tests.unit.cri_daemon import add_container, add_pod, make_daemon


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    yield made
    await made.reconciler.close()
    await made.trash.close()


async def test_a_failing_step_stops_no_other_and_its_failure_is_told(daemon: Daemon) -> None:
    done = []

    async def good() -> None:
        done.append("good")

    async def bad() -> None:
        raise OSError("first")

    async def worse() -> None:
        raise OSError("second")

    with pytest.raises(OSError, match="first"):
        await run_steps(daemon, "it", [("a", good), ("b", bad), ("c", worse), ("d", good)])
    assert done == ["good", "good"]


async def test_a_step_that_hangs_is_left(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "STEP_DEADLINE_S", 0.001)

    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded, match="it: its network took longer"):
        await run_steps(daemon, "it", [("its network", hang)])


async def test_a_running_container_is_killed_and_leaves_nothing(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    daemon.paths.bundle(record.id).mkdir()
    (daemon.paths.container(record.id) / "upper").mkdir(parents=True)
    await remove_container(daemon, record.id)
    assert shim.calls == ["kill", "delete"]
    assert cast(Any, daemon.cgroups).calls == ["kill /pods/c", "remove /pods/c"]
    assert daemon.containers.get(record.id) is None
    assert record.id not in daemon.live_containers
    assert not daemon.paths.bundle(record.id).exists()
    assert not daemon.paths.container(record.id).exists()


async def test_two_removals_are_one_and_a_third_finds_nothing_to_do(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    await asyncio.gather(remove_container(daemon, record.id), remove_container(daemon, record.id))
    await remove_container(daemon, record.id)
    assert shim.calls == ["kill", "delete"]


async def test_an_unfinished_removal_is_finished_later(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim)
    cast(Any, daemon.cgroups).stuck = True
    with pytest.raises(OSError, match="busy"):
        await remove_container(daemon, record.id)
    assert daemon.containers.need(record.id).state is ContainerState.REMOVING
    cast(Any, daemon.cgroups).stuck = False
    await daemon.reconciler.finish()
    assert daemon.containers.get(record.id) is None


async def test_a_stopped_pod_keeps_its_record_and_its_containers_records(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon, netns="/run/netns/none-such")
    record = add_container(daemon, shim)
    await stop_sandbox(daemon, pod.id)
    assert daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY
    assert daemon.containers.need(record.id).exit_code == 137
    assert cast(Any, daemon.networks).deleted == [pod.id]
    assert pod.id not in daemon.pods
    assert shim.calls == ["kill", "shutdown"]


async def test_a_network_that_cannot_be_released_leaves_the_pod_stopping(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon, netns="/run/netns/none-such")
    cast(Any, daemon.networks).failures = [OSError("plugin")]
    with pytest.raises(OSError, match="plugin"):
        await stop_sandbox(daemon, pod.id)
    assert daemon.sandboxes.need(pod.id).state is SandboxState.STOPPING
    assert shim.calls == ["shutdown"]
    await daemon.reconciler.finish()
    assert daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY


async def test_a_shim_that_does_not_answer_is_killed(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "SHUTDOWN_DEADLINE_S", 0.001)
    pod, shim = add_pod(daemon)
    shim.gates["shutdown"] = asyncio.Event()
    await stop_sandbox(daemon, pod.id)
    assert shim.killed
    assert daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY


async def test_a_removed_pod_takes_everything_along(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    add_container(daemon, shim)
    add_container(daemon, shim, ContainerState.EXITED)
    await remove_sandbox(daemon, pod.id)
    assert (list(daemon.sandboxes), list(daemon.containers)) == ([], [])
    assert not daemon.paths.sandbox(pod.id).exists()
    await remove_sandbox(daemon, pod.id)


async def test_a_removal_waits_for_a_stop_under_way(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    shim.gates["shutdown"] = asyncio.Event()
    stopping = asyncio.ensure_future(stop_sandbox(daemon, pod.id))
    await shim.event("shutdown").wait()
    removing = asyncio.ensure_future(remove_sandbox(daemon, pod.id))
    await asyncio.sleep(0)
    shim.gates["shutdown"].set()
    await asyncio.gather(stopping, removing)
    assert daemon.sandboxes.get(pod.id) is None
    assert shim.calls == ["shutdown"]


@pytest.fixture
def init() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


async def test_the_init_of_a_dead_shim_does_not_stay(daemon: Daemon, init: subprocess.Popen[bytes]) -> None:
    pod, shim = add_pod(daemon, init_pid=init.pid, init_start=process_state(init.pid).start)
    shim.is_alive = False
    await stop_sandbox(daemon, pod.id)
    assert init.wait(10) == -9


async def test_a_process_that_has_the_inits_number_by_now_is_left_alone(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon, init_pid=os.getpid(), init_start=1)
    shim.is_alive = False
    await stop_sandbox(daemon, pod.id)
    assert daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY
