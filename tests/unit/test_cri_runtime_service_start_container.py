"""StartContainer: an exit, a removal or a caller that goes away, all in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cri.api import runtime_pb2 as api
from cri.daemon import Daemon
from cri.errors import FailedPrecondition
from cri.runtime_service.remove_container import remove_container
from cri.runtime_service.start_container import start_container
from cri.runtime_service.stop_container import stop_container
from cri.shims import ShimGone
from cri.state.machine import ContainerState
from oci.errors import ContainerError
from tests.unit.cri_daemon import CALL, FakeShim, add_container, add_pod, make_daemon


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    yield made
    await made.reconciler.close()


def start(daemon: Daemon, container_id: str) -> asyncio.Task[api.StartContainerResponse]:
    return asyncio.ensure_future(start_container(daemon, api.StartContainerRequest(container_id=container_id), CALL))


async def begun(daemon: Daemon) -> tuple[str, FakeShim, asyncio.Task[api.StartContainerResponse]]:
    """A start that waits for its shim."""
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim, ContainerState.CREATED)
    shim.gates["start"] = asyncio.Event()
    starting = start(daemon, record.id)
    await shim.event("start").wait()
    return record.id, shim, starting


async def test_an_exit_before_the_answer_is_applied_after_it(daemon: Daemon) -> None:
    container_id, shim, starting = await begun(daemon)
    shim.exit(container_id, 3 << 8)
    assert daemon.containers.need(container_id).state is ContainerState.CREATED
    shim.gates["start"].set()
    await starting
    record = daemon.containers.need(container_id)
    assert (record.state, record.exit_code, record.started_at > 0) == (ContainerState.EXITED, 3, True)
    assert daemon.live_containers[container_id].exited.is_set()


async def test_a_caller_that_goes_away_does_not_lose_the_start(daemon: Daemon) -> None:
    container_id, shim, starting = await begun(daemon)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    retry = start(daemon, container_id)
    await asyncio.sleep(0)
    shim.gates["start"].set()
    await retry
    assert daemon.containers.need(container_id).state is ContainerState.RUNNING
    assert shim.calls.count("start") == 1


async def test_a_shim_that_dies_in_the_middle_does_not_take_the_exit_along(daemon: Daemon) -> None:
    container_id, shim, starting = await begun(daemon)
    shim.exit(container_id, 0)
    shim.is_alive = False
    with pytest.raises(ShimGone):
        await starting
    assert daemon.containers.need(container_id).state is ContainerState.EXITED


async def test_a_removal_in_the_middle_wins(daemon: Daemon) -> None:
    container_id, shim, starting = await begun(daemon)
    shim.exit(container_id)  # known, and not yet applied: the start has not been answered
    removing = asyncio.ensure_future(
        remove_container(daemon, api.RemoveContainerRequest(container_id=container_id), CALL)
    )
    await removing
    shim.gates["start"].set()
    results = await asyncio.gather(starting, return_exceptions=True)
    assert isinstance(results[0], Exception)
    assert daemon.containers.get(container_id) is None


async def test_a_stop_in_the_middle_ends_it(daemon: Daemon) -> None:
    container_id, shim, starting = await begun(daemon)
    stopping = asyncio.ensure_future(
        stop_container(daemon, api.StopContainerRequest(container_id=container_id, timeout=30), CALL)
    )
    await shim.event("kill").wait()
    shim.gates["start"].set()
    await asyncio.gather(starting, stopping)
    assert daemon.containers.need(container_id).exit_code == 137


async def test_what_cannot_be_executed_is_exited_with_the_reason(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim, ContainerState.CREATED)

    async def refuse(self: FakeShim, container_id: str) -> None:
        raise ContainerError("exec /nope", 2, "no such file or directory")

    monkeypatch.setattr(FakeShim, "start", refuse)
    with pytest.raises(ContainerError):
        await start(daemon, record.id)
    now = daemon.containers.need(record.id)
    assert (now.state, now.exit_code, now.reason) == (ContainerState.EXITED, 128, "StartError")
    shim.exit(record.id, 127 << 8)
    assert daemon.containers.need(record.id).exit_code == 128


async def test_only_a_created_container_can_be_started(daemon: Daemon) -> None:
    _, shim = add_pod(daemon)
    record = add_container(daemon, shim, ContainerState.RUNNING)
    with pytest.raises(FailedPrecondition, match="is running"):
        await start(daemon, record.id)
