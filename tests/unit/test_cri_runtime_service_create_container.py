"""CreateContainer against whatever may happen meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cri.api import runtime_pb2 as api
from cri.daemon import Daemon
from cri.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Unavailable
from cri.runtime_service.create_container import create_container
from cri.runtime_service.remove_pod_sandbox import remove_pod_sandbox
from cri.runtime_service.stop_pod_sandbox import stop_pod_sandbox
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import SandboxRecord
from oci.errors import ContainerError
from oci.protocol.messages import ContainerCreate, ContainerHandles
from tests.unit.cri_daemon import CALL, FakeShim, add_pod, container_config, exit_event, make_daemon


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    yield made
    await made.reconciler.close()


def create(daemon: Daemon, sandbox_id: str, name: str = "main") -> asyncio.Task[api.CreateContainerResponse]:
    request = api.CreateContainerRequest(pod_sandbox_id=sandbox_id, config=container_config(name))
    return asyncio.ensure_future(create_container(daemon, request, CALL))


async def test_a_container_waits_for_its_start(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    answer = await create(daemon, pod.id[:10])
    record = daemon.containers.need(answer.container_id)
    assert (record.state, record.sandbox_id, record.delivered) == (ContainerState.CREATED, pod.id, True)
    assert shim.containers == {record.id: "created"}


async def test_a_pod_that_stops_takes_along_what_is_being_made_in_its_shim(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    shim.gates["create"] = asyncio.Event()
    creating = create(daemon, pod.id)
    await shim.event("create").wait()
    await stop_pod_sandbox(daemon, api.StopPodSandboxRequest(pod_sandbox_id=pod.id), CALL)
    with pytest.raises(FailedPrecondition, match=f"sandbox {pod.id} is"):
        await creating
    assert list(daemon.containers) == []
    assert shim.containers == {}
    assert daemon.sandboxes.need(pod.id).state is SandboxState.NOT_READY


async def test_a_pod_that_stops_waits_for_what_has_not_come_to_its_shim_yet(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    images = cast(Any, daemon.images)
    images.gate = asyncio.Event()
    creating = create(daemon, pod.id)
    await images.mounting.wait()
    stopping = asyncio.ensure_future(stop_pod_sandbox(daemon, api.StopPodSandboxRequest(pod_sandbox_id=pod.id), CALL))
    await shim.event("kill").wait()
    images.gate.set()
    with pytest.raises(FailedPrecondition):
        await creating
    await stopping
    assert "create" not in shim.calls
    assert list(daemon.containers) == []


async def test_a_removed_pod_leaves_no_container_behind(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    shim.gates["create"] = asyncio.Event()
    creating = create(daemon, pod.id)
    await shim.event("create").wait()
    await remove_pod_sandbox(daemon, api.RemovePodSandboxRequest(pod_sandbox_id=pod.id), CALL)
    with pytest.raises(FailedPrecondition):
        await creating
    assert list(daemon.containers) == []
    assert list(daemon.sandboxes) == []


async def test_a_caller_that_goes_away_ends_nothing_and_its_retry_gets_the_same(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    shim.gates["create"] = asyncio.Event()
    first = create(daemon, pod.id)
    await shim.event("create").wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    shim.gates["create"].set()
    await daemon.joined.settle(lambda key: True)
    (record,) = daemon.containers
    assert not record.delivered
    assert (await create(daemon, pod.id)).container_id == record.id
    with pytest.raises(AlreadyExists, match=record.id):
        await create(daemon, pod.id)


async def test_a_failure_says_why_and_is_never_seen_even_if_it_cannot_be_undone_yet(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, _shim = add_pod(daemon)
    cast(Any, daemon.cgroups).stuck = True

    async def refuse(self: FakeShim, request: object) -> None:
        raise ContainerError("mount /proc", 1, "operation not permitted")

    monkeypatch.setattr(FakeShim, "create", refuse)
    with pytest.raises(ContainerError, match="mount /proc"):
        await create(daemon, pod.id)
    (record,) = daemon.containers
    assert record.state is ContainerState.REMOVING
    assert daemon.containers.list_bytes() == b""
    cast(Any, daemon.cgroups).stuck = False
    await daemon.reconciler.finish()
    assert list(daemon.containers) == []


def with_mounts(pod: SandboxRecord, *sources: str) -> api.CreateContainerRequest:
    config = container_config()
    for number, source in enumerate(sources):
        config.mounts.add(host_path=source, container_path=f"/{number}")
    return api.CreateContainerRequest(pod_sandbox_id=pod.id, config=config)


def missing(path: object) -> ContainerError:
    return ContainerError(f"bind {path} at /b", 2, f"no such file or directory: {path}")


async def test_a_missing_source_may_be_the_callers_fault_and_its_path_is_not_touched(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, _ = add_pod(daemon)
    runtime = replace(daemon.settings.runtime, make_missing_sources=False)
    daemon.settings = replace(daemon.settings, runtime=runtime)

    async def refuse(self: FakeShim, request: object) -> None:
        raise missing("/data/two")

    monkeypatch.setattr(FakeShim, "create", refuse)
    with pytest.raises(InvalidArgument, match=r"config\.mounts\[1\]\.host_path: /data/two does not exist"):
        await create_container(daemon, with_mounts(pod, "/data", "/data/two"), CALL)


async def test_missing_sources_are_made(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod, _ = add_pod(daemon)
    sources = (tmp_path / "a" / "one", tmp_path / "two")
    succeed = FakeShim.create

    async def look(self: FakeShim, request: ContainerCreate) -> ContainerHandles:
        for source in sources:
            if not source.exists():
                raise missing(source)
        return await succeed(self, request)

    monkeypatch.setattr(FakeShim, "create", look)
    await create_container(daemon, with_mounts(pod, *map(str, sources)), CALL)
    assert [source.is_dir() for source in sources] == [True, True]
    (record,) = daemon.containers
    assert record.state is ContainerState.CREATED


@pytest.mark.parametrize("there", ["a file", "a directory"])
async def test_a_source_that_cannot_be_made_or_is_there_is_told(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    pod, _ = add_pod(daemon)
    place = tmp_path / "place"
    if there == "a file":
        place.write_text("")
        place = place / "below"

    async def refuse(self: FakeShim, request: object) -> None:
        raise missing(place)

    monkeypatch.setattr(FakeShim, "create", refuse)
    with pytest.raises(InvalidArgument, match="does not exist"):
        await create_container(daemon, with_mounts(pod, str(place)), CALL)
    assert list(daemon.containers) == []


async def test_an_init_that_dies_before_it_is_known_fails_the_creation(daemon: Daemon) -> None:
    pod, shim = add_pod(daemon)
    shim.container_pid = 2**22 + 1  # beyond pid_max
    shim.gates["create"] = asyncio.Event()
    creating = create(daemon, pod.id)
    await shim.event("create").wait()
    (record,) = daemon.containers
    live = daemon.live_containers[record.id]
    shim.gates["create"].set()
    shim.exit(record.id)
    assert live.pending_exit == exit_event(record.id)
    with pytest.raises(Unavailable, match="died while it was being made"):
        await creating
    assert list(daemon.containers) == []
