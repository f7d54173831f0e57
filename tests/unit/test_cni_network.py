"""The facade without root: choice of the network, status, and deletes. Adds need a namespace: see the system tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cni.cache import Cache, Record
from cni.config import parse
from cni.errors import InvalidAttachment, NetworkNotReady, PluginError
from cni.network import Networks
from cni.values import Attachment, NetworkSettings, NetworkStatus
from tests.fake_plugins import RESULT, FakePlugins, conflist, failing

POD = Attachment(sandbox_id="ab12", netns_path="/run/netns/gone")


@pytest.fixture
def plugins(tmp_path: Path) -> FakePlugins:
    return FakePlugins(tmp_path)


@pytest.fixture
async def networks(tmp_path: Path, plugins: FakePlugins) -> AsyncIterator[Networks]:
    opened = await Networks.open(settings(tmp_path))
    yield opened
    await opened.close()


def settings(tmp_path: Path) -> NetworkSettings:
    return NetworkSettings(
        conf_dir=str(tmp_path / "etc" / "net.d"),
        bin_dirs=(str(tmp_path / "bin"),),
        cache_dir=str(tmp_path / "cache"),
        builtin=None,
        timeout_seconds=30,
    )


def configure(tmp_path: Path, text: str) -> None:
    directory = tmp_path / "etc" / "net.d"
    directory.mkdir(parents=True, exist_ok=True)
    new = directory / "new"
    new.write_text(text)
    os.replace(new, directory / "10-net.conflist")


async def next_status(networks: Networks, ready: bool, act: object) -> NetworkStatus:
    heard: asyncio.Queue[NetworkStatus] = asyncio.Queue()
    networks.on_status(heard.put_nowait)
    act()  # type: ignore[operator]
    while True:
        status = await asyncio.wait_for(heard.get(), 20)
        if status.ready is ready:
            return status


async def test_status_follows_the_directory(networks: Networks, plugins: FakePlugins, tmp_path: Path) -> None:
    status = networks.status()
    assert (status.ready, status.reason) == (False, "NetworkPluginNotReady")
    assert status.message == f"no network configuration in {tmp_path}/etc/net.d"
    with pytest.raises(NetworkNotReady, match="no network configuration"):
        await networks.add(POD)
    heard: asyncio.Queue[NetworkStatus] = asyncio.Queue()
    networks.on_status(heard.put_nowait)
    configure(tmp_path, conflist("one"))
    while "one" not in (status := await asyncio.wait_for(heard.get(), 20)).message:
        pass
    assert status.message == f'plugin "one" of network "net" is not in {tmp_path}/bin'
    assert await next_status(networks, True, lambda: plugins.add("one")) == NetworkStatus(ready=True, network="net")
    broken = await next_status(networks, False, lambda: configure(tmp_path, "{"))
    assert "10-net.conflist: not JSON" in broken.message
    assert networks.status() == broken


async def test_a_plugins_status_is_the_networks(networks: Networks, plugins: FakePlugins, tmp_path: Path) -> None:
    plugins.add("one", STATUS=failing("no uplink", 50))
    status = await next_status(networks, False, lambda: configure(tmp_path, conflist("one")))
    assert status.message == 'plugin "one" failed (STATUS, code 50): no uplink'


async def test_delete_runs_the_chain_that_add_ran(networks: Networks, plugins: FakePlugins, tmp_path: Path) -> None:
    """Though another network is configured by now, and the namespace is gone."""
    for name in ("old", "new"):
        plugins.add(name)
    await next_status(networks, True, lambda: configure(tmp_path, conflist("new")))
    cache = Cache(str(tmp_path / "cache"))
    config = parse("x", conflist("old", version="1.0.0"))
    cache.write(Record(attachment=replace(POD, pod_name="web"), network="net", config=config, result=RESULT))
    plugins.forget()
    await networks.delete(POD)
    (call,) = plugins.calls()
    assert (call.plugin, call.verb, call.environment["CNI_NETNS"]) == ("old", "DEL", "")
    assert "K8S_POD_NAME=web" in call.environment["CNI_ARGS"]
    assert call.stdin["prevResult"] == RESULT
    assert cache.read("ab12", "eth0") is None
    await networks.delete(POD)  # no record: the configured network is asked
    assert plugins.verbs() == [("old", "DEL"), ("new", "DEL")]


async def test_a_failed_delete_is_told_and_may_be_repeated(
    networks: Networks, plugins: FakePlugins, tmp_path: Path
) -> None:
    plugins.add("one", DEL=failing("busy"))
    await next_status(networks, True, lambda: configure(tmp_path, conflist("one")))
    cache = Cache(str(tmp_path / "cache"))
    cache.write(Record(attachment=POD, network="net", config=parse("x", conflist("one")), result=None))
    with pytest.raises(PluginError, match="busy"):
        await networks.delete(POD)
    assert cache.read("ab12", "eth0") is not None
    plugins.add("one")
    await networks.delete(POD)
    assert cache.read("ab12", "eth0") is None


async def test_gc_deletes_what_is_recorded_and_tells_the_plugins(
    networks: Networks, plugins: FakePlugins, tmp_path: Path
) -> None:
    plugins.add("one")
    await next_status(networks, True, lambda: configure(tmp_path, conflist("one")))
    cache = Cache(str(tmp_path / "cache"))
    config = parse("x", conflist("one"))
    for name in ("ab12", "cd34"):
        cache.write(Record(attachment=replace(POD, sandbox_id=name), network="net", config=config, result=None))
    plugins.forget()
    await networks.gc([POD])
    deleted, collected = plugins.calls()
    assert (deleted.verb, deleted.environment["CNI_CONTAINERID"]) == ("DEL", "cd34")
    assert collected.verb == "GC"
    assert collected.stdin["cni.dev/valid-attachments"] == [{"containerID": "ab12", "ifname": "eth0"}]
    assert [record.attachment.sandbox_id for record in cache.records()] == ["ab12"]


async def test_a_record_of_the_built_in_network_is_not_dropped_when_it_is_off(
    networks: Networks, tmp_path: Path
) -> None:
    Cache(str(tmp_path / "cache")).write(Record(attachment=POD, network="coracle", config=None, result=None))
    with pytest.raises(NetworkNotReady, match=r'sandbox ab12: the built-in network "coracle" is switched off'):
        await networks.delete(POD)


@pytest.mark.parametrize("attachment", [replace(POD, sandbox_id="../x"), replace(POD, ifname="a/b")])
async def test_names_that_no_plugin_may_see(networks: Networks, attachment: Attachment) -> None:
    for verb in (networks.add, networks.delete):
        with pytest.raises(InvalidAttachment, match="invalid"):
            await verb(attachment)
