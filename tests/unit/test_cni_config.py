"""Configuration lists as people write them, and as they get them wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.config import VERSIONS, parse, parse_document
from cni.errors import ConfigError

BRIDGE = {"type": "bridge", "bridge": "b0", "capabilities": {"portMappings": True, "dns": False}, "ipam": {"type": "x"}}


def conflist(**changes: object) -> str:
    return json.dumps({"cniVersion": "1.0.0", "name": "net", "plugins": [BRIDGE, {"type": "portmap"}]} | changes)


def test_a_list_keeps_the_plugins_documents_as_they_are() -> None:
    config = parse("a.conflist", conflist())
    assert (config.name, config.version) == ("net", "1.0.0")
    assert [plugin.type for plugin in config.plugins] == ["bridge", "portmap"]
    assert config.plugins[0].document == BRIDGE
    assert config.plugins[0].capabilities == {"portMappings"}


def test_a_single_plugin_is_a_list_of_one() -> None:
    config = parse("a.conf", json.dumps({"cniVersion": "0.3.1", "name": "net", **BRIDGE}))
    assert (config.name, config.version, len(config.plugins)) == ("net", "0.3.1", 1)
    assert config.plugins[0].document["bridge"] == "b0"


@pytest.mark.parametrize(
    ("offered", "more", "spoken"),
    [
        ("1.0.0", None, "1.0.0"),
        ("1.0.0", ["1.1.0", "2.0.0"], "1.1.0"),
        ("9.9.9", ["0.4.0", "0.3.1"], "0.4.0"),
        ("0.4.0", [], "0.4.0"),
    ],
)
def test_the_highest_common_version_is_spoken(offered: str, more: list[str] | None, spoken: str) -> None:
    changes: dict[str, object] = {"cniVersion": offered} | ({} if more is None else {"cniVersions": more})
    assert parse("a", conflist(**changes)).version == spoken


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"name": "n", "cniVersion": "1.0.0"}', "plugins: missing"),
        (conflist(name="../x"), 'name: "../x" is not a network name'),
        (conflist(name=None), "name: null"),
        (conflist(cniVersion="0.2.0"), 'cniVersion: "0.2.0" is none of 0.3.0'),
        (conflist(cniVersion=None), "cniVersion: null"),
        (conflist(cniVersions="1.0.0"), "cniVersions: not a list"),
        (conflist(plugins={}), "plugins: not a list"),
        (conflist(plugins=[], loadOnlyInlinedPlugins=True), "plugins: empty"),
        (conflist(plugins=[{"type": "a"}, []]), r"plugins\[1\]: not a JSON object"),
        (conflist(plugins=[{"type": "../../bin/sh"}]), r'plugins\[0\].type: "../../bin/sh" is not the name'),
        (conflist(plugins=[{}]), r"plugins\[0\].type: null"),
        (conflist(plugins=[{"type": "a", "capabilities": 3}]), r"plugins\[0\].capabilities: not a JSON object"),
        (conflist(disableCheck="maybe"), 'disableCheck: "maybe" is not a boolean'),
    ],
)
def test_errors_name_the_file_and_the_field(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"network config a.conflist: {problem}"):
        parse("a.conflist", text)


def test_flags_may_be_strings() -> None:
    config = parse("a", conflist(disableCheck="true", disableGC=True))
    assert (config.disable_check, config.disable_gc) == (True, True)


@given(st.sampled_from(VERSIONS), st.booleans(), st.booleans())
def test_what_the_cache_keeps_parses_to_the_same(version: str, check: bool, gc: bool) -> None:
    config = parse("a", conflist(cniVersion=version, disableCheck=check, disableGC=gc))
    again = parse_document("a", json.loads(json.dumps(config.to_json())))
    assert (again.name, again.version, again.plugins) == (config.name, config.version, config.plugins)
    assert (again.disable_check, again.disable_gc) == (check, gc)


_KEYS = st.sampled_from(["name", "type", "plugins", "cniVersion", "cniVersions", "capabilities", "disableGC"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.just("1.0.0"),
        lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner),
    )
)
def test_any_document_parses_or_says_why_not(document: object) -> None:
    try:
        parse_document("a", document)
    except ConfigError:
        pass  # the only error there may be
