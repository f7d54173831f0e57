"""May this node's kubelet be switched, and can it? Asked before anything of the switch is begun."""

from __future__ import annotations

import re
from typing import Final

from deploy.installer import names
from deploy.installer.context import Context
from deploy.installer.errors import Refused
from deploy.installer.kubelet.forms import Kubelet, recognise
from deploy.installer.stages.stage import CheckStage

#: From this minor version on the kubelet asks the runtime for its cgroup driver (KubeletCgroupDriverFromCRI).
_ASKS_FOR_DRIVER: Final = (1, 34)


class Permission(CheckStage):
    name = "permission"

    def check(self, context: Context) -> None:
        kubelet = this_kubelet(context)
        _driver(context, kubelet)
        if context.node is None:
            return
        labels = context.node.labels()
        if not context.switch.any_node and labels.get(names.SWITCH_LABEL) != "true":
            raise NotAsked(
                f"node {context.node.name} is not marked to be switched",
                f"kubectl label node {context.node.name} {names.SWITCH_LABEL}=true",
            )
        if names.CONTROL_PLANE_LABEL in labels and not context.switch.allow_control_plane:
            raise Refused(
                f"node {context.node.name} is of the control plane: its static pods would stop for the switch",
                "allow it with --allow-control-plane (install.switch.allowControlPlane)",
            )


class NotAsked(Refused):
    """The node is fit, but nobody marked it: the one refusal that the installer's pod waits on."""


def this_kubelet(context: Context) -> Kubelet:
    return recognise(context.systemd.text(names.KUBELET_UNIT), context.host.exists, context.host.text)


def _driver(context: Context, kubelet: Kubelet) -> None:
    """A kubelet that does not ask must have been told the driver that we use; on a live node nobody changes it."""
    version = context.node.kubelet_version() if context.node else ""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if not found or (int(found.group(1)), int(found.group(2))) >= _ASKS_FOR_DRIVER:
        return
    settings = context.host.text(names.CONFIG_DROP_IN)
    ours = re.search(r"^cgroup_manager\s*=\s*\"(\w+)\"", settings, re.MULTILINE)
    driver, manager = kubelet.cgroup_driver or "cgroupfs", ours.group(1) if ours else "auto"
    if manager == "auto" or manager == driver:
        if manager == "auto" and driver != "systemd":
            raise Refused(
                f"the kubelet's cgroup driver is {driver}, the daemon would choose systemd",
                'set cgroup_manager = "cgroupfs" in the daemon\'s configuration',
            )
        return
    raise Refused(f"the kubelet's cgroup driver is {driver}, the daemon's is {manager}", "make them the same")
