"""Is this a node that the daemon can run on, and is it the node that the pod believes it is on?"""

from __future__ import annotations

import os
import platform
import re
from typing import Final

from deploy.installer import names
from deploy.installer.context import Context
from deploy.installer.errors import Refused
from deploy.installer.stages.stage import CheckStage

OLDEST_KERNEL: Final = (5, 10)
_FREE_BYTES: Final = 512 << 20


class HostCheck(CheckStage):
    name = "host-check"

    def check(self, context: Context) -> None:
        host = context.host
        if not host.exists("/run/systemd/system"):
            raise Refused("this host does not run systemd", "the daemon is installed as a systemd unit")
        release = platform.release()
        if _version(release) < OLDEST_KERNEL:
            raise Refused(f"kernel {release} is older than {OLDEST_KERNEL[0]}.{OLDEST_KERNEL[1]}")
        _same_node(context)
        _room(context)


def _same_node(context: Context) -> None:
    """A wrong NODE_NAME would label one node and change another."""
    if context.node is None:
        return
    here, there = context.host.text("/etc/machine-id").strip(), context.node.machine_id()
    if here and there and here != there:
        raise Refused(f"this host's machine id {here} is not that of node {context.node.name}, {there}")


def _room(context: Context) -> None:
    if context.payload is not None and context.host.exists(f"{names.INSTALL_ROOT}/{context.payload.version}"):
        return
    place = context.host.locate("/opt", follow=True)
    while not place.exists():
        place = place.parent
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    if free < _FREE_BYTES:
        raise Refused(f"{free >> 20} MB are free below /opt, {_FREE_BYTES >> 20} are needed")


def _version(release: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)
