"""The configuration directory: which network serves pods. Reads files; what they mean is `config`'s.

    <conf dir>/
        10-pods.conflist         the first valid one in lexicographic order serves, unless a name is asked for
        20-other.conf
        <network name>/*.conf    further plugins of that network (CNI 1.1, unless loadOnlyInlinedPlugins)

A file that does not parse is passed over, with its error kept for the status message.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from cni.config import NetworkConfig, PluginConfig, parse, parse_plugin, with_more_plugins
from cni.errors import ConfigError
from oci.values import frozen

_SUFFIXES: Final = (".conf", ".conflist", ".json")
_MAX_BYTES: Final = 1 << 20


@frozen
class Loaded:
    config: NetworkConfig | None
    problems: tuple[str, ...] = ()


def load(conf_dir: str, network: str = "") -> Loaded:
    """The first network, or the one called `network`; a missing directory is one without networks."""
    problems: list[str] = []
    for path in _files(Path(conf_dir), _SUFFIXES, problems):
        try:
            config = _complete(parse(str(path), _read(path)))
        except ConfigError as error:
            problems.append(str(error))
            continue
        if not network or config.name == network:
            return Loaded(config=config, problems=tuple(problems))
    return Loaded(config=None, problems=tuple(problems))


def _complete(config: NetworkConfig) -> NetworkConfig:
    if config.only_inlined:
        return config
    problems: list[str] = []
    directory = Path(config.path).parent / config.name
    more = [_plugin(path) for path in _files(directory, (".conf",), problems)]
    if problems:
        raise ConfigError(config.path, "plugins", problems[0])
    return with_more_plugins(config, more)


def _plugin(path: Path) -> PluginConfig:
    try:
        document = json.loads(_read(path))
    except ValueError as error:
        raise ConfigError(str(path), "", f"not JSON: {error}") from error
    return parse_plugin(str(path), "plugin", document)


def _files(directory: Path, suffixes: tuple[str, ...], problems: list[str]) -> list[Path]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(f"{directory}: {error.strerror}")
        return []
    return [directory / name for name in names if name.endswith(suffixes) and (directory / name).is_file()]


def _read(path: Path) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", str(error)) from error
    if len(text) > _MAX_BYTES:
        raise ConfigError(str(path), "", f"larger than {_MAX_BYTES} bytes")
    return text
