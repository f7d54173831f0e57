"""Plugins on a real socket: what they adjust and update, together, and who has the last word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from google.protobuf.message import Message

from cri.errors import InvalidArgument
from cri.nri import lifecycle, ttrpc
from cri.nri.api import nri_pb2 as nri
from cri.nri.errors import AdjustmentConflict, PluginRefused
from cri.state.records import ContainerRecord
from oci import spec
from tests.nri_daemon import FakeDaemon, MakeDaemon, adjusts, daemons, joined, refuses, responds
from tests.nri_plugin import Handler


@pytest.fixture
async def make_daemon(tmp_path: Path) -> AsyncIterator[MakeDaemon]:
    async with daemons(tmp_path) as make:
        yield make


@pytest.fixture
async def daemon(make_daemon: MakeDaemon) -> FakeDaemon:
    return await make_daemon()


async def test_adjustments_of_all_plugins_are_applied(daemon: FakeDaemon) -> None:
    await joined(daemon, index="00", handlers={"CreateContainer": adjusts(env=[nri.KeyValue(key="B", value="2")])})
    wanted = nri.LinuxContainerAdjustment(
        cgroups_path="/other",
        resources=nri.LinuxResources(memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=1 << 20))),
    )
    second = await joined(daemon, index="10", handlers={"CreateContainer": adjusts(linux=wanted)}, among=2)
    record = await daemon.create(await daemon.run_pod())
    specification = daemon.spec_of("c1")
    assert specification.process is not None
    assert specification.process.env == ("A=1", "B=2")
    assert specification.linux.cgroups_path == record.cgroup == "/other"
    assert record.resources.memory_limit_in_bytes == 1 << 20
    shown = second.of("CreateContainer", nri.CreateContainerRequest)[0].container
    assert list(shown.env) == ["A=1", "B=2"]
    made = second.of("PostCreateContainer", nri.PostCreateContainerRequest)[0].container
    assert (made.linux.cgroups_path, made.linux.resources.memory.limit.value) == ("/other", 1 << 20)


async def test_plugins_that_want_the_same_fail_the_container(daemon: FakeDaemon) -> None:
    wants = adjusts(env=[nri.KeyValue(key="B", value="2")])
    await joined(daemon, index="00", name="one", handlers={"CreateContainer": wants})
    await joined(daemon, index="10", name="two", handlers={"CreateContainer": wants}, among=2)
    pod = await daemon.run_pod()
    with pytest.raises(AdjustmentConflict, match=r"10-two.*Env 'B'.*00-one"):
        await daemon.create(pod)


async def test_an_adjustment_that_cannot_be_made_fails_the_container(daemon: FakeDaemon) -> None:
    await joined(daemon, handlers={"CreateContainer": adjusts(CDI_devices=[nri.CDIDevice(name="v.com/c=d")])})
    pod = await daemon.run_pod()
    with pytest.raises(InvalidArgument, match=r"v\.com/c=d"):
        await daemon.create(pod)
    assert len(daemon.containers) == 0


@pytest.mark.parametrize("reject", [True, False])
async def test_a_validator_has_the_last_word(daemon: FakeDaemon, reject: bool) -> None:
    await joined(
        daemon, index="00", name="adds", handlers={"CreateContainer": adjusts(env=[nri.KeyValue(key="B", value="2")])}
    )
    verdict = nri.ValidateContainerAdjustmentResponse(reject=reject, reason="B is forbidden")
    validator = await joined(
        daemon,
        index="99",
        handlers={"ValidateContainerAdjustment": responds(verdict)},
        subscribed=1 << (nri.VALIDATE_CONTAINER_ADJUSTMENT - 1),
        among=2,
    )
    pod = await daemon.run_pod()
    if reject:
        with pytest.raises(PluginRefused, match="B is forbidden"):
            await daemon.create(pod)
    else:
        await daemon.create(pod)
    request = validator.of("ValidateContainerAdjustment", nri.ValidateContainerAdjustmentRequest)[0]
    assert list(request.container.env) == ["A=1"]
    assert [pair.key for pair in request.adjust.env] == ["B"]
    assert request.owners.owners["c1"].compound[nri.Env].owners["B"] == "00-adds"
    assert [(plugin.index, plugin.name) for plugin in request.plugins] == [("00", "adds"), ("99", "test")]


async def test_a_plugin_of_former_days_gets_state_changes(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon, handlers={"RunPodSandbox": refuses("what is that", ttrpc.UNIMPLEMENTED)})
    await daemon.run_pod("p1")
    await daemon.run_pod("p2")
    assert plugin.methods()[2:] == ["RunPodSandbox", "StateChange", "StateChange"]
    change = plugin.of("StateChange", nri.StateChangeEvent)[1]
    assert (change.event, change.pod.id) == (nri.RUN_POD_SANDBOX, "p2")


# --- updates ----------------------------------------------------------------------------------------------------------


def memory(container_id: str, limit: int, *, ignore: bool = False) -> nri.ContainerUpdate:
    resources = nri.LinuxResources(memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=limit)))
    return nri.ContainerUpdate(
        container_id=container_id, linux=nri.LinuxContainerUpdate(resources=resources), ignore_failure=ignore
    )


def limited(limit: int) -> spec.Resources:
    return spec.Resources(memory=spec.MemoryResources(limit=limit, swap=limit))


async def test_a_plugin_updates_containers_whenever_it_likes(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    await daemon.create(await daemon.run_pod())
    response = await asyncio.to_thread(
        plugin.update, memory("c1", 5), memory("nobody", 6), memory("nobody", 7, ignore=True)
    )
    assert [update.linux.resources.memory.limit.value for update in response.failed] == [6]
    assert daemon.cgroups.set == [("/pods/c1", limited(5))]
    assert daemon.containers.need("c1").resources.memory_limit_in_bytes == 5


async def test_a_plugin_may_call_while_it_is_asked(daemon: FakeDaemon) -> None:
    pod = await daemon.run_pod()
    await daemon.create(pod, "c1")
    plugin = await joined(daemon)

    def update_another(_: Message) -> None:
        plugin.update(memory("c1", 5))

    plugin.handlers["CreateContainer"] = update_another
    await daemon.create(pod, "c2")
    assert daemon.cgroups.set == [("/pods/c1", limited(5))]


async def test_updates_of_others_come_with_every_answer_that_can_hold_them(daemon: FakeDaemon) -> None:
    pod = await daemon.run_pod()
    await daemon.create(pod, "c1")
    handlers: Mapping[str, Handler] = {
        "Synchronize": responds(nri.SynchronizeResponse(update=[memory("c1", 1)])),
        "CreateContainer": responds(nri.CreateContainerResponse(update=[memory("c1", 2)])),
        "UpdateContainer": responds(nri.UpdateContainerResponse(update=[memory("c1", 3), memory("c2", 30)])),
        "StopContainer": responds(nri.StopContainerResponse(update=[memory("c1", 4)])),
    }
    await joined(daemon, handlers=handlers)
    second = await daemon.create(pod, "c2")
    assert await daemon.nri.updating(second, limited(20)) == limited(30)
    daemon.end(second)
    await daemon.nri.stopped("c2")
    assert daemon.cgroups.set == [("/pods/c1", limited(limit)) for limit in (1, 2, 3, 4)]


async def test_an_update_that_nobody_changes_stays_what_it_was(daemon: FakeDaemon) -> None:
    await joined(daemon)
    container = await daemon.create(await daemon.run_pod())
    wanted = spec.Resources(memory=spec.MemoryResources(limit=5))
    assert await daemon.nri.updating(container, wanted) is wanted


async def test_an_update_of_another_that_fails_fails_the_creation_unless_it_may(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    pod = await daemon.run_pod()
    for ignore in (True, False):
        response = nri.CreateContainerResponse(update=[memory("nobody", 2, ignore=ignore)])
        plugin.handlers["CreateContainer"] = responds(response)
        if ignore:
            await daemon.create(pod, "c1")
        else:
            with pytest.raises(Exception, match="nobody"):
                await daemon.create(pod, "c2")


async def test_an_evicted_container_is_stopped(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def stop(_: object, record: ContainerRecord, grace_s: float) -> None:
        stopped.set_result(record.id)

    monkeypatch.setattr(lifecycle, "stop_container", stop)
    plugin = await joined(daemon)
    await daemon.create(await daemon.run_pod())
    plugin.call(
        "UpdateContainers",
        nri.UpdateContainersRequest(evict=[nri.ContainerEviction(container_id="c1", reason="too loud")]),
    )
    async with asyncio.timeout(10):
        assert await stopped == "c1"
