"""When the built-in network steps in, and when it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cni.selection import choose
from cni.values import BuiltinNetwork, NetworkSettings
from tests.fake_plugins import FakePlugins, conflist

WITH_IPAM = '{"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": {"type": "host-local"}}'


def settings(tmp_path: Path, builtin: BuiltinNetwork | None = BuiltinNetwork()) -> NetworkSettings:  # noqa: B008
    return NetworkSettings(conf_dir=str(tmp_path / "net.d"), bin_dirs=(str(tmp_path / "bin"),), builtin=builtin)


def configure(tmp_path: Path, text: str) -> None:
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d" / "a.conf").write_text(text)


def test_nothing_is_configured(tmp_path: Path) -> None:
    assert choose(settings(tmp_path)).builtin
    assert choose(settings(tmp_path, None)).problem == f"no network configuration in {tmp_path}/net.d"


def test_a_network_is_configured_and_installed(tmp_path: Path) -> None:
    FakePlugins(tmp_path).add("one")
    configure(tmp_path, conflist("one"))
    choice = choose(settings(tmp_path))
    assert (choice.builtin, choice.name, choice.problem) == (False, "net", "")
    assert choice.config is not None


def test_a_network_is_configured_but_no_plugin_is_installed(tmp_path: Path) -> None:
    configure(tmp_path, conflist("one"))
    choice = choose(settings(tmp_path))
    assert (choice.builtin, choice.name, choice.config) == (True, "coracle", None)


@pytest.mark.parametrize(
    ("text", "missing"), [(conflist("one", "two"), "two"), (WITH_IPAM.replace("bridge", "one"), "host-local")]
)
def test_one_plugin_of_a_network_is_missing(tmp_path: Path, text: str, missing: str) -> None:
    FakePlugins(tmp_path).add("one")
    configure(tmp_path, text)
    choice = choose(settings(tmp_path))
    assert (choice.builtin, choice.config) == (False, None)
    assert choice.problem == f'plugin "{missing}" of network "net" is not in {tmp_path}/bin'


def test_a_broken_configuration_is_told_not_replaced(tmp_path: Path) -> None:
    configure(tmp_path, "{")
    choice = choose(settings(tmp_path))
    assert not choice.builtin
    assert "a.conf: not JSON" in choice.problem
