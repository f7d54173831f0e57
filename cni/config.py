"""Network configuration lists (CNI 1.1, section 1). Pure: text in, `NetworkConfig` out; reading files is `confdir`'s.

A plugin's own keys are none of our business: its document is handed on as it was written, with only `name`,
`cniVersion`, `runtimeConfig` and `prevResult` put in (`chain`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from cni.errors import ConfigError
from oci.values import frozen

Document = Mapping[str, object]  # a JSON object that belongs to somebody else

VERSIONS: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")


def rank(version: str) -> int:
    """Order of the supported versions; -1 for others."""
    return VERSIONS.index(version) if version in VERSIONS else -1


@frozen
class PluginConfig:
    """`type` names the binary; `capabilities` are the runtimeConfig keys that the plugin wants."""

    type: str
    capabilities: frozenset[str]
    document: Document


@frozen
class NetworkConfig:
    """`version` is the one spoken with the plugins: the highest of the list's that Coracle speaks too."""

    path: str
    name: str
    version: str
    plugins: tuple[PluginConfig, ...]
    disable_check: bool = False
    disable_gc: bool = False
    only_inlined: bool = False

    def to_json(self) -> Document:
        """A configuration list that parses to the same value: what the cache keeps for a later DEL."""
        return {
            "cniVersion": self.version,
            "name": self.name,
            "disableCheck": self.disable_check,
            "disableGC": self.disable_gc,
            "loadOnlyInlinedPlugins": True,
            "plugins": [plugin.document for plugin in self.plugins],
        }


def parse(path: str, text: str) -> NetworkConfig:
    """A .conflist, or a .conf or .json with one plugin. An empty plugin list is an error unless more may be loaded."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigError(path, "", f"not JSON: {error}") from error
    return parse_document(path, document)


def parse_document(path: str, document: object) -> NetworkConfig:
    if not isinstance(document, dict):
        raise ConfigError(path, "", "not a JSON object")
    if "plugins" not in document:
        if "type" not in document:
            raise ConfigError(path, "plugins", "missing, and there is no plugin type either")
        document = {**{key: document[key] for key in ("cniVersion", "name") if key in document}, "plugins": [document]}
    return _parse_list(path, document)


def _parse_list(path: str, document: Document) -> NetworkConfig:
    name = document.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise ConfigError(path, "name", f"{json.dumps(name)} is not a network name")
    listed = document["plugins"]
    if not isinstance(listed, list):
        raise ConfigError(path, "plugins", "not a list")
    only_inlined = _flag(path, document, "loadOnlyInlinedPlugins")
    if not listed and only_inlined:
        raise ConfigError(path, "plugins", "empty")
    return NetworkConfig(
        path=path,
        name=name,
        version=_negotiate(path, document),
        plugins=tuple(parse_plugin(path, f"plugins[{index}]", plugin) for index, plugin in enumerate(listed)),
        disable_check=_flag(path, document, "disableCheck"),
        disable_gc=_flag(path, document, "disableGC"),
        only_inlined=only_inlined,
    )


def parse_plugin(path: str, field: str, document: object) -> PluginConfig:
    if not isinstance(document, dict):
        raise ConfigError(path, field, "not a JSON object")
    kind = document.get("type")
    if not isinstance(kind, str) or not kind or "/" in kind or kind in (".", ".."):
        raise ConfigError(path, f"{field}.type", f"{json.dumps(kind)} is not the name of a plugin")
    declared = document.get("capabilities") or {}
    if not isinstance(declared, dict):
        raise ConfigError(path, f"{field}.capabilities", "not a JSON object")
    capabilities = frozenset(key for key, wanted in declared.items() if wanted is True)
    return PluginConfig(type=kind, capabilities=capabilities, document=document)


def with_more_plugins(config: NetworkConfig, more: Sequence[PluginConfig]) -> NetworkConfig:
    """The list completed by plugins from files of their own (CNI 1.1, loadOnlyInlinedPlugins)."""
    plugins = (*config.plugins, *more)
    if not plugins:
        raise ConfigError(config.path, "plugins", "empty")
    return replace(config, plugins=plugins)


def _negotiate(path: str, document: Document) -> str:
    offered: list[object] = [document.get("cniVersion", "")]
    more = document.get("cniVersions") or []
    if not isinstance(more, list):
        raise ConfigError(path, "cniVersions", "not a list")
    offered += more
    spoken = [version for version in offered if isinstance(version, str) and version in VERSIONS]
    if not spoken:
        raise ConfigError(path, "cniVersion", f"{json.dumps(offered[0])} is none of {', '.join(VERSIONS)}")
    return max(spoken, key=rank)


def _flag(path: str, document: Document, key: str) -> bool:
    """Written as a boolean, or as a string in lists of old."""
    value = document.get(key, False)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ConfigError(path, key, f"{json.dumps(value)} is not a boolean")
