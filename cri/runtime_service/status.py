"""Status: whether the runtime and its network can take pods. From memory: the kubelet asks every 5 seconds."""

from __future__ import annotations

import json
from typing import Protocol

from cni.values import NetworkStatus
from cri.api import runtime_pb2 as api
from cri.config import KEYS, Settings
from cri.config.schema import value_at
from cri.features import OWN_HANDLERS, Features
from cri.rpc import Call
from cri.version import VERSION
from oci.cgroups import CgroupDriver


class _Networks(Protocol):
    def status(self) -> NetworkStatus: ...


class StatusSource(Protocol):
    """The part of the daemon that Status looks at."""

    @property
    def settings(self) -> Settings: ...
    @property
    def features(self) -> Features: ...
    @property
    def cgroups(self) -> CgroupDriver: ...
    @property
    def apparmor(self) -> str: ...
    @property
    def selinux_state(self) -> str: ...
    @property
    def runtime_handlers(self) -> tuple[str, ...]: ...
    @property
    def networks(self) -> _Networks: ...
    @property
    def launcher_problem(self) -> str: ...


async def status(daemon: StatusSource, request: api.StatusRequest, call: Call) -> api.StatusResponse:
    network = daemon.networks.status()
    features, problem = daemon.features, daemon.launcher_problem
    conditions = [
        api.RuntimeCondition(
            type="RuntimeReady",
            status=not problem,
            reason="LauncherNotRunning" if problem else "",
            message=problem,
        ),
        api.RuntimeCondition(type="NetworkReady", status=network.ready, reason=network.reason, message=network.message),
    ]
    return api.StatusResponse(
        status=api.RuntimeStatus(conditions=conditions),
        info=_info(daemon) if request.verbose else None,
        runtime_handlers=[_handler(name, features) for name in daemon.runtime_handlers],
        features=api.RuntimeFeatures(
            supplemental_groups_policy=features.supplemental_groups_policy,
            user_namespaces_host_network=features.user_namespaces_host_network,
            mount_options=features.mount_options,
        ),
    )


def _handler(name: str, features: Features) -> api.RuntimeHandler:
    """Features belong to Coracle's own executor; of other runtimes nothing is promised."""
    own = name in OWN_HANDLERS
    return api.RuntimeHandler(
        name=name,
        features=api.RuntimeHandlerFeatures(
            recursive_read_only_mounts=own and features.recursive_read_only_mounts,
            user_namespaces=own and features.user_namespaces,
        ),
    )


def _info(daemon: StatusSource) -> dict[str, str]:
    """`stateDir` is where tools (critest) look for the file system of containers' root directories."""
    settings = daemon.settings
    config: dict[str, object] = {"stateDir": str(settings.root / "containers"), "version": VERSION}
    for key in KEYS:
        value = value_at(settings, key.path)
        config[key.dotted] = [str(item) for item in value] if key.is_list else _plain(value)
    host = {"cgroupDriver": daemon.cgroups.name, "apparmor": daemon.apparmor, "selinux": daemon.selinux_state}
    return {"config": json.dumps(config), "host": json.dumps(host)}


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float) else str(value)
