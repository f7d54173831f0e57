"""Who else was or is here: other runtimes and what they left. And whether the clock can be believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cri.config.schema import Settings
from cri.doctor.node import Node
from cri.doctor.result import Result, ok, warn

_GROUP: Final = "others"

# Name, sockets, and directories that hold mounts of its pods.
_RUNTIMES: Final = (
    ("containerd", ("/run/containerd/containerd.sock",), "/run/containerd/io.containerd.runtime.v2.task/k8s.io"),
    ("CRI-O", ("/run/crio/crio.sock", "/var/run/crio/crio.sock"), "/run/containers/storage/overlay-containers"),
    ("cri-dockerd", ("/run/cri-dockerd.sock", "/var/run/cri-dockerd.sock"), "/var/lib/cri-dockerd/sandbox"),
)
_SYNCHRONIZED: Final = "/run/systemd/timesync/synchronized"
_BUILT_IN_2024: Final = 1_704_067_200


def checks(node: Node, settings: Settings, now: float) -> Iterator[Result]:
    for name, sockets, leftovers in _RUNTIMES:
        yield _runtime(node, name, sockets, leftovers)
    yield _crictl(node, settings)
    yield _clock(node, now)


def _runtime(node: Node, name: str, sockets: tuple[str, ...], leftovers: str) -> Result:
    listening = [path for path in sockets if node.exists(path)]
    pods = node.names(leftovers)
    if pods:
        socket = f"unix://{listening[0]}" if listening else "its socket"
        advice = f"crictl --runtime-endpoint {socket} rmp --all --force: they hold ports, addresses and cgroups"
        return warn(_GROUP, name, f"{len(pods)} containers of pods in {leftovers}", advice)
    return ok(_GROUP, name, f"listens at {listening[0]}, without pods" if listening else "not here")


def _crictl(node: Node, settings: Settings) -> Result:
    text = node.read("/etc/crictl.yaml")
    if text is None or str(settings.socket_path) in text:
        return ok(_GROUP, "crictl", "not configured" if text is None else "/etc/crictl.yaml names our socket")
    advice = f"runtime-endpoint: unix://{settings.socket_path}, when the kubelet uses Coracle"
    return warn(_GROUP, "crictl", "/etc/crictl.yaml names another runtime", advice)


def _clock(node: Node, now: float) -> Result:
    if now < _BUILT_IN_2024:
        return warn(_GROUP, "clock", "before 2024", "set the clock: certificates of registries are not valid yet")
    if node.exists("/run/systemd/timesync") and not node.exists(_SYNCHRONIZED):
        return warn(_GROUP, "clock", "systemd-timesyncd has not synchronized", "timedatectl timesync-status says why")
    return ok(_GROUP, "clock", "synchronized" if node.exists(_SYNCHRONIZED) else "plausible; who sets it is not known")
