"""Whole chains of fake plugins: order, results handed on, failures, deadlines."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cni.config import NetworkConfig, parse
from cni.errors import NetworkTimeout, PluginError, PluginFailed
from cni.plugins import PluginChains, is_namespace
from cni.values import Attachment
from tests.fake_plugins import RESULT, FakePlugins, conflist, failing

POD = Attachment(sandbox_id="ab12", netns_path="/proc/self/ns/net", pod_name="web")


@pytest.fixture
def plugins(tmp_path: Path) -> FakePlugins:
    made = FakePlugins(tmp_path)
    for name in ("one", "two"):
        made.add(name)
    return made


def chains(plugins: FakePlugins, seconds: float = 30) -> PluginChains:
    return PluginChains([str(plugins.bin)], dict(os.environ), seconds)


def network(version: str = "1.1.0") -> NetworkConfig:
    return parse("a.conflist", conflist("one", "two", version=version))


async def test_add_hands_results_down_the_chain(plugins: FakePlugins) -> None:
    result = await chains(plugins).add(network(), POD)
    assert result == RESULT
    one, two = plugins.calls()
    assert (one.plugin, two.plugin) == ("one", "two")
    assert "prevResult" not in one.stdin
    assert two.stdin["prevResult"] == RESULT
    assert one.environment["CNI_NETNS"] == "/proc/self/ns/net"


async def test_results_of_another_version_are_converted(plugins: FakePlugins) -> None:
    result = await chains(plugins).add(network("0.4.0"), POD)
    assert result["cniVersion"] == "0.4.0"
    assert plugins.calls()[1].stdin["prevResult"] == result


async def test_add_stops_at_the_first_failure(plugins: FakePlugins) -> None:
    plugins.add("one", ADD=failing("no room"))
    with pytest.raises(PluginError, match="no room"):
        await chains(plugins).add(network(), POD)
    assert plugins.verbs() == [("one", "ADD")]


@pytest.mark.parametrize("script", ["echo hello", "echo '{}'", "true"])
async def test_nonsense_for_a_result_is_a_failure(plugins: FakePlugins, script: str) -> None:
    plugins.add("one", ADD=script)
    with pytest.raises(PluginFailed, match=r'plugin "one" failed \(ADD\): (result is not JSON|invalid result)'):
        await chains(plugins).add(network(), POD)


async def test_delete_runs_backwards_past_failures(plugins: FakePlugins) -> None:
    plugins.add("two", DEL=failing("stuck"))
    plugins.add("one", DEL=failing("stuck too"))
    with pytest.raises(PluginError, match="stuck") as info:
        await chains(plugins).delete(network(), POD, RESULT)
    assert plugins.verbs() == [("two", "DEL"), ("one", "DEL")]
    assert plugins.calls()[1].stdin["prevResult"] == RESULT
    assert info.value.__notes__ == ['and then: plugin "one" failed (DEL, code 11): stuck too']


async def test_delete_names_no_namespace_when_there_is_none(plugins: FakePlugins, tmp_path: Path) -> None:
    plain = tmp_path / "after-reboot"
    plain.touch()
    for path in ("/run/netns/gone", str(plain), "", "/proc/self/ns/net"):
        await chains(plugins).delete(network(), replace(POD, netns_path=path), None)
    seen = [call.environment["CNI_NETNS"] for call in plugins.calls()[::2]]
    assert seen == ["", "", "", "/proc/self/ns/net"]


async def test_check_status_and_gc_where_the_version_has_them(plugins: FakePlugins) -> None:
    for version, verbs in (("0.3.1", []), ("1.0.0", ["CHECK"]), ("1.1.0", ["CHECK", "STATUS", "GC"])):
        plugins.forget()
        await chains(plugins).check(network(version), POD, RESULT)
        await chains(plugins).status(network(version))
        await chains(plugins).collect(network(version), {("ab12", "eth0")})
        assert plugins.verbs() == [(name, verb) for verb in verbs for name in ("one", "two")]


async def test_one_deadline_holds_for_the_whole_chain(plugins: FakePlugins) -> None:
    plugins.add("two", DEL="sleep 60")
    with pytest.raises(PluginFailed, match="no answer within") as info:
        await chains(plugins, 0.3).delete(network(), POD, None)
    assert info.value.__notes__ == ['and then: network "net": DEL took longer than 0.3 s']
    with pytest.raises(NetworkTimeout, match=r"ADD took longer than 0 s"):
        await chains(plugins, 0).add(network(), POD)


def test_a_namespace_is_told_from_a_file(tmp_path: Path) -> None:
    assert is_namespace("/proc/self/ns/net")
    assert not is_namespace(str(tmp_path))
    assert not is_namespace("")
