"""Which file of the directory serves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cni.confdir import load


def write(path: Path, name: str, **changes: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "bridge"}]} | changes))


def test_the_first_in_order_serves(tmp_path: Path) -> None:
    write(tmp_path / "20-b.conflist", "b")
    write(tmp_path / "10-a.conf", "a")
    write(tmp_path / "00-ignored.txt", "c")
    (tmp_path / "05-directory.conf").mkdir()
    loaded = load(str(tmp_path))
    assert loaded.config is not None
    assert (loaded.config.name, loaded.problems) == ("a", ())


def test_a_network_may_be_asked_for_by_name(tmp_path: Path) -> None:
    write(tmp_path / "10-a.conflist", "a")
    write(tmp_path / "20-b.conflist", "b")
    loaded = load(str(tmp_path), "b")
    assert loaded.config is not None
    assert loaded.config.name == "b"
    assert load(str(tmp_path), "c").config is None


def test_a_broken_file_is_passed_over_and_remembered(tmp_path: Path) -> None:
    (tmp_path / "10-a.conflist").write_text("{")
    (tmp_path / "11-b.conflist").write_bytes(b"\xff\xfe")
    write(tmp_path / "20-c.conflist", "c")
    loaded = load(str(tmp_path))
    assert loaded.config is not None
    assert loaded.config.name == "c"
    assert [problem.split(":")[0] for problem in loaded.problems] == [
        f"network config {tmp_path}/10-a.conflist",
        f"network config {tmp_path}/11-b.conflist",
    ]


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.touch(), lambda p: p.mkdir()])
def test_no_directory_no_network(tmp_path: Path, make: object) -> None:
    make(tmp_path / "net.d")  # type: ignore[operator]
    loaded = load(str(tmp_path / "net.d"))
    assert (loaded.config, loaded.problems) == (None, ())


def test_further_plugins_come_from_the_networks_own_directory(tmp_path: Path) -> None:
    write(tmp_path / "10-a.conflist", "a", plugins=[{"type": "bridge"}])
    for name, kind in (("20.conf", "tuning"), ("10.conf", "portmap"), ("x.json", "none")):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_text(json.dumps({"type": kind}))
    loaded = load(str(tmp_path))
    assert loaded.config is not None
    assert [plugin.type for plugin in loaded.config.plugins] == ["bridge", "portmap", "tuning"]
    write(tmp_path / "10-a.conflist", "a", loadOnlyInlinedPlugins=True)
    inlined = load(str(tmp_path))
    assert inlined.config is not None
    assert [plugin.type for plugin in inlined.config.plugins] == ["bridge"]


def test_a_list_without_any_plugin_is_broken(tmp_path: Path) -> None:
    write(tmp_path / "10-a.conflist", "a", plugins=[])
    loaded = load(str(tmp_path))
    assert loaded.config is None
    assert loaded.problems == (f"network config {tmp_path}/10-a.conflist: plugins: empty",)
