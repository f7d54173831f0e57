"""Plugins on a real socket that do not behave, and the ways in: nobody waits for long, and nobody else suffers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from cri.nri import ttrpc
from cri.nri.api import nri_pb2 as nri
from cri.state.machine import ContainerState, SandboxState
from tests.nri_daemon import FakeDaemon, MakeDaemon, daemons, joined, refuses, responds
from tests.nri_plugin import FakePlugin, Handler, Refusal


@pytest.fixture
async def make_daemon(tmp_path: Path) -> AsyncIterator[MakeDaemon]:
    async with daemons(tmp_path) as make:
        yield make


@pytest.fixture
async def daemon(make_daemon: MakeDaemon) -> FakeDaemon:
    return await make_daemon()


def hangs(_: Message) -> Message:
    threading.Event().wait(30)
    raise Refusal("too late")


@pytest.mark.parametrize(
    ("settings", "handlers"),
    [
        ({"registration_timeout": 0.05}, {"Synchronize": hangs}),
        ({"request_timeout": 0.05}, {"Configure": hangs}),
        ({}, {"Configure": refuses("not with you")}),
        ({}, {"Configure": responds(nri.ConfigureResponse(events=1 << 20))}),
        ({}, {"Synchronize": refuses("cannot")}),
    ],
)
async def test_a_plugin_that_fails_on_its_way_is_closed_and_nobody_waits(
    make_daemon: MakeDaemon, settings: dict[str, Any], handlers: dict[str, Handler]
) -> None:
    daemon = await make_daemon(**settings)
    plugin = FakePlugin(daemon.socket, handlers=handlers)
    plugin.__enter__()
    assert await asyncio.to_thread(plugin.closed.wait, 20)
    await daemon.create(await daemon.run_pod())
    assert "RunPodSandbox" not in plugin.methods()


async def test_a_connection_that_never_registers_is_closed(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(registration_timeout=0.05)
    plugin = FakePlugin(daemon.socket, registers=False)
    plugin.__enter__()
    assert await asyncio.to_thread(plugin.closed.wait, 20)


@pytest.mark.parametrize(("index", "name"), [("1", "short"), ("aa", "letters"), ("10", ""), ("10", "bad name")])
async def test_a_bad_name_is_refused(daemon: FakeDaemon, index: str, name: str) -> None:
    plugin = FakePlugin(daemon.socket, index=index, name=name, registers=False)
    plugin.__enter__()
    response = await asyncio.wrap_future(plugin.register())
    assert response.code == ttrpc.INVALID_ARGUMENT
    assert await asyncio.to_thread(plugin.closed.wait, 20)


async def test_a_plugin_that_hangs_is_dropped_and_the_call_goes_on(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(request_timeout=1.0)
    plugin = await joined(daemon, handlers={"RunPodSandbox": hangs})
    assert (await daemon.run_pod()).state is SandboxState.READY
    assert await asyncio.to_thread(plugin.closed.wait, 20)
    assert daemon.nri._adaptation.plugins == []


async def test_a_plugin_that_dies_is_dropped_and_the_call_goes_on(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    plugin.handlers["CreateContainer"] = lambda _: plugin.close()
    container = await daemon.create(await daemon.run_pod())
    assert container.state is ContainerState.CREATED
    assert daemon.nri._adaptation.plugins == []


@pytest.mark.parametrize("data", [b"\0\0\0\1\xff\xff\xff\xff", b"\0\0\0\1\0\0\0\x0a\0\0\0\0\0\0\0\1\3\0" * 2])
async def test_a_plugin_that_sends_nonsense_ends_alone(daemon: FakeDaemon, data: bytes) -> None:
    plugin = await joined(daemon)
    plugin.handlers["RunPodSandbox"] = lambda _: plugin.send(data)
    await daemon.run_pod()
    await daemon.run_pod("p2")
    assert len(daemon.sandboxes) == 2


async def test_a_second_registration_and_unknown_calls_are_refused(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    assert (await asyncio.wrap_future(plugin.register())).code == ttrpc.INVALID_ARGUMENT
    assert (await asyncio.wrap_future(plugin.call("Dance", nri.Empty()))).code == ttrpc.UNIMPLEMENTED


async def test_plugins_are_told_that_the_daemon_ends(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    await daemon.nri.close()
    await asyncio.to_thread(plugin.wait_for, "Shutdown")
    assert not daemon.socket.exists()


# --- the ways in ------------------------------------------------------------------------------------------------------


async def test_a_stale_socket_is_replaced_and_one_in_use_is_left_alone(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    first = await make_daemon()
    inode = first.socket.stat().st_ino
    second = await make_daemon()
    assert first.socket.stat().st_ino == inode
    await second.run_pod()
    await joined(first)


@pytest.mark.parametrize("settings", [{"enable": False}, {"disable_connections": True}])
async def test_no_socket_where_none_is_wanted(make_daemon: MakeDaemon, settings: dict[str, bool]) -> None:
    daemon = await make_daemon(**settings)
    assert not daemon.socket.exists()
    await daemon.create(await daemon.run_pod())
