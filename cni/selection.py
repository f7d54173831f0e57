"""Which network serves pods: a configured one, the built-in one, or none and why. Reads directories, changes nothing.

The built-in network steps in when nobody has configured a network, or when a network is configured on a host without a
single plugin binary. It does not step in for a broken configuration or a missing plugin among others: pods would get
addresses of a network that nobody asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cni.confdir import load
from cni.config import NetworkConfig
from cni.execute import find_plugin
from cni.values import NetworkSettings
from oci.values import frozen


@frozen
class Choice:
    """`config` for plugin chains, else `builtin`; neither when `problem` says what is wrong."""

    name: str = ""
    config: NetworkConfig | None = None
    builtin: bool = False
    problem: str = ""


def choose(settings: NetworkSettings) -> Choice:
    loaded = load(settings.conf_dir, settings.network)
    builtin = settings.builtin
    config = loaded.config
    if config is not None:
        missing = [name for name in _binaries(config) if find_plugin(name, settings.bin_dirs) is None]
        if not missing:
            return Choice(name=config.name, config=config)
        if builtin is None or _any_plugin(settings.bin_dirs):
            directories = ", ".join(settings.bin_dirs)
            return Choice(
                name=config.name, problem=f'plugin "{missing[0]}" of network "{config.name}" is not in {directories}'
            )
    elif loaded.problems:
        return Choice(problem="; ".join(loaded.problems))
    if builtin is not None:
        return Choice(name=builtin.name, builtin=True)
    wanted = f'"{settings.network}" ' if settings.network else ""
    return Choice(problem=f"no network configuration {wanted}in {settings.conf_dir}")


def _binaries(config: NetworkConfig) -> list[str]:
    """The chain's plugins, and the IPAM plugins that they call themselves."""
    names = []
    for plugin in config.plugins:
        names.append(plugin.type)
        ipam = plugin.document.get("ipam")
        kind = ipam.get("type") if isinstance(ipam, dict) else None
        if isinstance(kind, str) and kind:
            names.append(kind)
    return names


def _any_plugin(bin_dirs: Sequence[str]) -> bool:
    return any(
        entry.is_file() and os.access(entry, os.X_OK)
        for directory in bin_dirs
        if Path(directory).is_dir()
        for entry in Path(directory).iterdir()
    )
