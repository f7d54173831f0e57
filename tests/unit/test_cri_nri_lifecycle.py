"""Plugins on a real socket: what they are told of pods and containers, in which order, and how they join."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from google.protobuf.message import Message

from cri.daemon import Daemon
from cri.nri import ttrpc
from cri.nri.api import nri_pb2 as nri
from cri.nri.errors import PluginRefused
from cri.nri.lifecycle import Nri
from cri.state.machine import SandboxState
from tests.nri_daemon import FakeDaemon, MakeDaemon, daemons, joined, refuses, responds
from tests.nri_plugin import FakePlugin, Handler


@pytest.fixture
async def make_daemon(tmp_path: Path) -> AsyncIterator[MakeDaemon]:
    async with daemons(tmp_path) as make:
        yield make


@pytest.fixture
async def daemon(make_daemon: MakeDaemon) -> FakeDaemon:
    return await make_daemon()


async def test_a_plugin_is_configured_synchronized_and_told_everything_in_order(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    pod = await daemon.run_pod()
    container = await daemon.create(pod)
    await daemon.nri.starting(container)
    await daemon.nri.started(daemon.start(container))
    daemon.end(container)
    await daemon.nri.stopped(container.id)
    await daemon.remove(container)
    await daemon.remove_pod(await daemon.stop_pod(pod))
    assert plugin.methods() == [
        *("Configure", "Synchronize", "RunPodSandbox"),
        *("CreateContainer", "ValidateContainerAdjustment", "PostCreateContainer"),
        *("StartContainer", "PostStartContainer", "StopContainer", "RemoveContainer"),
        *("StopPodSandbox", "RemovePodSandbox"),
    ]
    configure = plugin.of("Configure", nri.ConfigureRequest)[0]
    assert (configure.runtime_name, configure.request_timeout, configure.NRI_version) == ("coracle", 20_000, "v0.12.1")
    shown = plugin.of("RunPodSandbox", nri.RunPodSandboxRequest)[0].pod
    assert (shown.id, shown.name, shown.uid, shown.namespace) == ("p1", "p1", "u1", "ns")
    assert list(shown.ips) == ["10.0.0.1"]
    assert shown.linux.namespaces[0] == nri.LinuxNamespace(type="network", path="/run/netns/x")
    created = plugin.of("CreateContainer", nri.CreateContainerRequest)[0].container
    assert (created.name, list(created.args), list(created.env)) == ("name-c1", ["sleep"], ["A=1"])
    stopped = plugin.of("StopContainer", nri.StopContainerRequest)[0]
    assert (stopped.pod.name, stopped.container.exit_code, list(stopped.container.args)) == ("p1", 1, ["sleep"])
    assert stopped.container.state == nri.CONTAINER_STOPPED


async def test_stops_are_told_once(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    pod = await daemon.run_pod()
    await daemon.create(pod)
    stopped = await daemon.stop_pod(pod)
    await daemon.stop_pod(stopped)
    await daemon.remove_pod(stopped)
    methods = plugin.methods()
    for method in ("StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox"):
        assert methods.count(method) == 1
    assert methods.index("StopContainer") < methods.index("StopPodSandbox") < methods.index("RemoveContainer")


async def test_a_container_removed_while_it_runs_is_told_as_stopped_first(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    container = await daemon.create(await daemon.run_pod())
    await daemon.remove(daemon.start(container))
    assert plugin.methods()[-2:] == ["StopContainer", "RemoveContainer"]


async def test_only_what_was_subscribed_to_is_told(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon, subscribed=1 << (nri.STOP_POD_SANDBOX - 1))
    await daemon.stop_pod(await daemon.run_pod())
    assert plugin.methods()[2:] == ["StopPodSandbox"]


async def test_plugins_are_asked_in_the_order_of_their_indexes(daemon: FakeDaemon) -> None:
    order: list[str] = []

    def note(name: str) -> Handler:
        return lambda _: order.append(name)

    await joined(daemon, index="90", handlers={"RunPodSandbox": note("90")})
    await joined(daemon, index="05", handlers={"RunPodSandbox": note("05")}, among=2)
    await daemon.run_pod()
    assert order == ["05", "90"]


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_a_refused_pod_fails_with_the_plugins_words_and_can_be_tried_again(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon, index="00", name="strict", handlers={"RunPodSandbox": refuses("not on this node")})
    with pytest.raises(PluginRefused, match="NRI plugin 00-strict: RunPodSandbox: not on this node"):
        await daemon.run_pod()
    assert plugin.methods()[-2:] == ["StopPodSandbox", "RemovePodSandbox"]
    assert daemon.sandboxes.get("p1") is None
    del plugin.handlers["RunPodSandbox"]
    assert (await daemon.run_pod()).state is SandboxState.READY


async def test_a_refused_container_fails_and_is_undone(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon, handlers={"CreateContainer": refuses("no room")})
    pod = await daemon.run_pod()
    with pytest.raises(PluginRefused, match="no room"):
        await daemon.create(pod)
    assert plugin.methods()[-2:] == ["StopContainer", "RemoveContainer"]
    assert len(daemon.containers) == 0


async def test_nobody_can_refuse_a_stop(daemon: FakeDaemon) -> None:
    refusal = refuses("never")
    plugin = await joined(
        daemon,
        handlers=dict.fromkeys(("StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox"), refusal),
    )
    pod = await daemon.run_pod()
    await daemon.create(pod)
    await daemon.remove_pod(await daemon.stop_pod(pod))
    assert plugin.methods()[-1] == "RemovePodSandbox"


# --- synchronization --------------------------------------------------------------------------------------------------


async def test_a_plugin_that_comes_later_is_shown_what_exists(daemon: FakeDaemon) -> None:
    pod = await daemon.run_pod()
    await daemon.create(pod)
    plugin = await joined(daemon)
    request = plugin.of("Synchronize", nri.SynchronizeRequest)[0]
    assert [shown.id for shown in request.pods] == ["p1"]
    assert [(shown.id, list(shown.args)) for shown in request.containers] == [("c1", ["sleep"])]


async def test_after_a_restart_plugins_are_shown_what_the_records_say(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(enable=False)
    pod = await daemon.run_pod()
    await daemon.create(pod)
    again = Nri(cast(Daemon, daemon))
    assert not again._known
    await again.open()
    assert again._known == again._live == {"p1", "c1"}


async def test_nothing_is_lost_or_doubled_around_a_synchronization(daemon: FakeDaemon) -> None:
    pod = await daemon.run_pod()
    await daemon.create(pod, "before")
    synchronizing, release = threading.Event(), threading.Event()

    def synchronize(_: Message) -> Message:
        synchronizing.set()
        assert release.wait(20)
        return nri.SynchronizeResponse()

    plugin = FakePlugin(daemon.socket, handlers={"Synchronize": synchronize})
    plugin.__enter__()
    assert await asyncio.to_thread(synchronizing.wait, 20)
    during = [asyncio.ensure_future(daemon.create(pod, f"during{number}")) for number in range(3)]
    ended = daemon.end(daemon.containers.need("before"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in during)
    release.set()
    await asyncio.gather(*during)
    await daemon.nri.stopped(ended.id)
    await daemon.create(pod, "after")
    shown = [container.id for container in plugin.of("Synchronize", nri.SynchronizeRequest)[0].containers]
    called = [request.container.id for request in plugin.of("CreateContainer", nri.CreateContainerRequest)]
    assert shown == ["before"]
    assert sorted(called) == ["after", "during0", "during1", "during2"]
    assert [request.container.id for request in plugin.of("StopContainer", nri.StopContainerRequest)] == ["before"]


async def test_a_long_list_is_sent_in_parts(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ttrpc, "LONGEST_MESSAGE", 700)
    pod = await daemon.run_pod()
    for number in range(20):
        await daemon.create(pod, f"c{number}")
    plugin = await joined(daemon)
    requests = plugin.of("Synchronize", nri.SynchronizeRequest)
    assert len(requests) > 1
    assert [request.more for request in requests] == [True] * (len(requests) - 1) + [False]
    assert [c.id for request in requests for c in request.containers] == [f"c{number}" for number in range(20)]


async def test_a_plugin_that_takes_no_parts_is_not_taken_into_service(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ttrpc, "LONGEST_MESSAGE", 700)
    pod = await daemon.run_pod()
    for number in range(20):
        await daemon.create(pod, f"c{number}")
    plugin = FakePlugin(daemon.socket, handlers={"Synchronize": responds(nri.SynchronizeResponse())})
    plugin.__enter__()
    assert await asyncio.to_thread(plugin.closed.wait, 20)
    assert daemon.nri._adaptation.plugins == []
