"""CNI: a configuration that parses, and plugins that are there and can be executed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from cni import confdir
from cni.config import NetworkConfig
from cri.config.schema import Builtin, Settings
from cri.doctor.node import Node
from cri.doctor.result import Result, fail, ok, warn

_GROUP: Final = "network"


def checks(node: Node, settings: Settings) -> Iterator[Result]:
    directory = settings.cni_conf_dir
    loaded = confdir.load(str(node.path(directory)))
    for problem in loaded.problems:
        yield warn(_GROUP, "configuration", problem, "mend or remove the file: it is passed over")
    if settings.network.builtin is Builtin.ALWAYS:
        yield ok(_GROUP, "configuration", "the built-in network serves, by setting")
        return
    if loaded.config is None:
        yield _without(settings)
        return
    yield ok(_GROUP, "configuration", f"{loaded.config.name} in {loaded.config.path}")
    yield _plugins(node, settings, loaded.config)


def _without(settings: Settings) -> Result:
    directory = settings.cni_conf_dir
    if settings.network.builtin is Builtin.NEVER:
        advice = "install the cluster's network; the node is not Ready until then"
        return fail(_GROUP, "configuration", f"no network in {directory}", advice)
    return ok(_GROUP, "configuration", f"none in {directory}: the built-in network serves")


def _plugins(node: Node, settings: Settings, config: NetworkConfig) -> Result:
    directories = settings.cni_bin_dir
    missing, barred = [], []
    for name in dict.fromkeys(plugin.type for plugin in config.plugins):
        files = [path for directory in directories if (path := node.path(directory) / name).is_file()]
        if not files:
            missing.append(name)
        elif not os.access(files[0], os.X_OK):
            barred.append(str(files[0]))
    places = ", ".join(map(str, directories))
    if missing:
        advice = f"install them into {directories[0]}; package containernetworking-plugins has the common ones"
        verdict = warn if settings.network.builtin is Builtin.AUTO else fail
        return verdict(_GROUP, "plugins", f"{', '.join(missing)} not in {places}", advice)
    if barred:
        return fail(_GROUP, "plugins", f"{', '.join(barred)} cannot be executed", "chmod 0755, and no noexec mount")
    return ok(_GROUP, "plugins", ", ".join(dict.fromkeys(plugin.type for plugin in config.plugins)))
