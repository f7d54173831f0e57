"""Settings of the kernel that pods depend on: forwarding, and limits that a full node runs into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cri.doctor.node import Node
from cri.doctor.result import Result, fail, ok, warn
from oci.values import frozen

_GROUP: Final = "sysctls"


@frozen
class _Switch:
    name: str
    lack: str
    required: bool


@frozen
class _Limit:
    name: str
    least: int
    lack: str


_SWITCHES: Final = (
    _Switch(name="net.ipv4.ip_forward", lack="pods reach nothing beyond the node", required=True),
    _Switch(
        name="net.bridge.bridge-nf-call-iptables", lack="pods miss Services of pods on the same bridge", required=False
    ),
)
_LIMITS: Final = (
    _Limit(name="fs.inotify.max_user_instances", least=512, lack="kubelet, daemon and pods share them"),
    _Limit(name="fs.inotify.max_user_watches", least=65536, lack="kubelet, daemon and pods share them"),
    _Limit(name="kernel.pid_max", least=65536, lack="a full node has more processes"),
    _Limit(name="fs.file-max", least=500_000, lack="a full node has more open files"),
)


def checks(node: Node) -> Iterator[Result]:
    for switch in _SWITCHES:
        if (result := _check_switch(node, switch)) is not None:
            yield result
    for limit in _LIMITS:
        value = node.number(_path(limit.name))
        if value is None:
            yield warn(_GROUP, limit.name, "not there", "is /proc mounted?")
        elif value < limit.least:
            yield warn(_GROUP, limit.name, str(value), f"{_set(limit.name, limit.least)} ({limit.lack})")
        else:
            yield ok(_GROUP, limit.name, str(value))


def _check_switch(node: Node, switch: _Switch) -> Result | None:
    value = node.number(_path(switch.name))
    if value is None:
        # Without the bridge module, of which its own check tells.
        return None
    if value == 1:
        return ok(_GROUP, switch.name, "1")
    verdict = fail if switch.required else warn
    return verdict(_GROUP, switch.name, str(value), f"{_set(switch.name, 1)} ({switch.lack})")


def _path(name: str) -> str:
    return f"/proc/sys/{name.replace('.', '/')}"


def _set(name: str, value: int) -> str:
    return f"sysctl -w {name}={value}, and the same in /etc/sysctl.d/50-coracle.conf"
