"""Settings: precedence, types, unknown keys, checks, and the printed file that reads back."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.config import KEYS, ConfigError, Settings, load_settings, render
from cri.config.schema import HandlerSettings, Key, LogLevel, with_derived, with_value


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_those_of_a_node() -> None:
    settings = with_derived(Settings())
    assert settings.listen == "unix:///run/coracle/coracle.sock"
    assert settings.socket_path == Path("/run/coracle/coracle.sock")
    assert settings.network.bridge == "coracle0"
    assert settings.network.subnets == ("10.77.0.0/16",)


def test_another_root_has_another_bridge_and_other_addresses() -> None:
    one = with_derived(Settings(root=Path("/srv/one"), runroot=Path("/run/one")))
    two = with_derived(Settings(root=Path("/srv/two"), runroot=Path("/run/two")))
    assert one.listen == "unix:///run/one/coracle.sock"
    assert len({one.network.bridge, two.network.bridge, "coracle0"}) == 3
    assert len({one.network.subnets, two.network.subnets, ("10.77.0.0/16",)}) == 3
    assert len(one.network.bridge) <= 15


def test_later_sources_win(tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", 'log_level = "error"\nlog_format = "json"\n[runtime]\npids_limit = 1\n')
    write(tmp_path / "c.toml.d" / "10-a.toml", "[runtime]\npids_limit = 2\n[images]\nmax_parallel_downloads = 7\n")
    write(tmp_path / "c.toml.d" / "20-b.toml", "[runtime]\npids_limit = 3\n")
    variables = {"CORACLE_LOG_LEVEL": "warning", "CORACLE_RUNTIME_PIDS_LIMIT": "4"}
    assert load_settings(config, {}, {}).runtime.pids_limit == 3
    assert load_settings(config, variables, {}).runtime.pids_limit == 4
    settings = load_settings(config, variables, {"--runtime-pids-limit": ["5"]})
    assert settings.runtime.pids_limit == 5
    assert settings.images.max_parallel_downloads == 7
    assert settings.log_level is LogLevel.WARNING
    assert settings.log_format == "json"


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", 'log_level = "debug"\n')
    assert load_settings(None, {"CORACLE_CONFIG": str(config)}, {}).log_level is LogLevel.DEBUG


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file"):
        load_settings(tmp_path / "absent.toml", {}, {})


def test_lists_come_from_several_flags_or_from_commas() -> None:
    flags = {"--cni-bin-dir": ["/a", "/b,/c"]}
    assert load_settings(None, {}, flags).cni_bin_dir == (Path("/a"), Path("/b"), Path("/c"))
    assert load_settings(None, {"CORACLE_CNI_BIN_DIR": ""}, {}).cni_bin_dir == ()


def test_handlers_are_tables(tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", '[runtime.handlers.runc]\npath = "/usr/bin/runc"\n')
    write(tmp_path / "c.toml.d" / "1.toml", '[runtime.handlers.runc]\nroot = "/run/runc"\n')
    assert load_settings(config, {}, {}).runtime.handlers == (
        HandlerSettings(name="runc", path=Path("/usr/bin/runc"), root=Path("/run/runc")),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bridge = 'a'", "c.toml: bridge: unknown key"),
        ("lisen = 'a'", "c.toml: lisen: unknown key, perhaps 'listen' is meant"),
        ("[network]\nbrigde = 'a'", "c.toml: network.brigde: unknown key, perhaps 'bridge' is meant"),
        ("[netwrok]\nbridge = 'a'", "c.toml: netwrok: unknown key, perhaps 'network' is meant"),
        ("network = 1", "c.toml: network: is a table, not a value"),
        ("root = 1", "c.toml: root: must be a text, is 1"),
        ("root = 'relative'", "c.toml: root: 'relative' is not an absolute path"),
        ("root = '.'", "c.toml: root: '.' is not an absolute path"),
        ("log_level = 'loud'", "c.toml: log_level: must be one of debug, info, warning, error, is 'loud'"),
        ("cni_bin_dir = '/a'", "c.toml: cni_bin_dir: must be a list, is '/a'"),
        ("[runtime]\npids_limit = true", "c.toml: runtime.pids_limit: must be a whole number, is True"),
        ("[runtime]\npids_limit = -1", "c.toml: runtime.pids_limit: -1 is negative"),
        ("[runtime]\ndefault_ulimits = ['nofile']", "runtime.default_ulimits: 'nofile' is not of the form"),
        ("[runtime.handlers.A]\npath = '/a'", "c.toml: runtime.handlers.A: 'A' is not a DNS label"),
        ("[runtime.handlers.a]\nroot = '/a'", "c.toml: runtime.handlers.a.path: is required"),
        ("[runtime.handlers.a]\nfoo = 1", "c.toml: runtime.handlers.a.foo: unknown key"),
        ("[runtime.handlers]\na = 1", "c.toml: runtime.handlers.a: is a table, not a value"),
        ("listen = 'tcp://0.0.0.0:1'", "c.toml: listen: 'tcp://0.0.0.0:1' is not of the form unix:///path"),
        ("listen = 'unix:///" + "a" * 107 + "'", "is longer than 107 bytes"),
        ("metrics_address = 'nowhere'", "metrics_address: 'nowhere' is not of the form host:port"),
        ("[network]\nbridge = 'much-too-long-a-name'", "is not the name of a network interface"),
        ("[network]\nsubnets = ['10.0.0.1/8']", "network.subnets: 10.0.0.1/8 has host bits set"),
        ("[network]\nsubnets = ['10.0.0.0/16', '10.1.0.0/16']", "two ranges of one address family"),
        ("root = '/srv/x'\nrunroot = '/srv/x/run'", "must not contain each other"),
        ("root =", "c.toml: not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path / "c.toml", text), {}, {})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "flags", "message"),
    [
        ({"CORACLE_RUNROOT": "/run/" + "x" * 100}, {}, "CORACLE_RUNROOT: listen: "),
        ({"CORACLE_NETWORK_MTU": "big"}, {}, "CORACLE_NETWORK_MTU: network.mtu: must be a whole number, is 'big'"),
        ({"CORACLE_ROOT": "x"}, {}, "CORACLE_ROOT: root: 'x' is not an absolute path"),
        ({}, {"--images-pull-progress-timeout": ["0"]}, "--images-pull-progress-timeout: "),
    ],
)
def test_a_wrong_variable_or_flag_is_named(
    variables: dict[str, str], flags: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, variables, flags)
    assert message in str(caught.value)


def test_variables_of_others_are_no_error() -> None:
    assert load_settings(None, {"CORACLE_SERVICE_HOST": "10.0.0.1"}, {}) == load_settings(None, {}, {})


def test_flags_and_variables_are_unambiguous() -> None:
    assert len({key.flag for key in KEYS}) == len({key.variable for key in KEYS}) == len(KEYS)


def test_every_setting_has_a_help_text() -> None:
    assert [key.dotted for key in KEYS if not key.help.endswith(".")] == []


def test_every_default_passes_its_own_check() -> None:
    assert [key.dotted for key in KEYS if key.check and key.check(key.default)] == []


TEXT = st.sampled_from('aé"\\\n\t\r\x7f\x01 0=[#,\U0001f6f6')


def _values(key: Key) -> st.SearchStrategy[Any]:
    kind = key.item_type
    if issubclass(kind, enum.Enum):
        scalar: st.SearchStrategy[Any] = st.sampled_from(list(kind))
    elif kind is Path:
        scalar = st.text(TEXT, min_size=1).map(lambda s: Path("/", s))
    elif kind is str:
        scalar = st.text(TEXT)
    else:
        scalar = {bool: st.booleans(), int: st.integers(0, 10**6), float: st.floats(0.1, 1e9)}[kind]
    return st.lists(scalar, max_size=3).map(tuple) if key.is_list else scalar


@given(st.data())
def test_the_printed_file_reads_back_to_the_same_settings(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    settings = with_derived(Settings())
    for key in data.draw(st.lists(st.sampled_from(KEYS), max_size=5)):
        value = data.draw(_values(key))
        if not (key.check and key.check(value)):
            settings = with_value(settings, key.path, value)
    settings = with_value(settings, ("root",), Path("/var/lib/coracle"))
    settings = with_derived(with_value(settings, ("runroot",), Path("/run/coracle")))
    if len(settings.network.subnets) > 1:
        settings = with_value(settings, ("network", "subnets"), ("10.0.0.0/16",))
    file = tmp_path_factory.mktemp("config") / "c.toml"
    file.write_text(render(settings), encoding="utf-8", newline="")
    assert load_settings(file, {}, {}) == settings
