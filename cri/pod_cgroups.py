"""Where a pod's cgroup is, and what keeps it: a plain directory, or a systemd scope around the pod's shim.

    cgroupfs   <cgroup parent, or cgroup_root/<id>>/<container id>
    systemd    <slice of the kubelet's, or cgroup_root's>/coracle-<id>.scope/{shim,<container id>}

Under systemd the pod is one unit and its containers are directories in what systemd has delegated: making, limiting and
removing a container asks nothing of systemd, and nothing that systemd does later undoes it. `oci.cgroups.systemd` has
the reasons; the steps of a pod's life are in the files of the RPCs and in `cri.teardown`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from cri.errors import InvalidArgument
from oci.cgroups import CgroupDriver
from oci.cgroups.systemd import SystemdDriver
from oci.errors import CgroupError

_FIELD = "config.linux.cgroup_parent"


class PodCgroups(Protocol):
    def place(self, parent: str, sandbox_id: str) -> tuple[str, bool]:
        """The pod's cgroup below `parent` ("" for none), and whether it is ours to remove. Raises InvalidArgument."""

    async def hold(self, path: str, shim_pid: int, sandbox_id: str) -> None:
        """Make sure that the pod's cgroup is there, with its shim where it belongs. Raises CgroupError."""


def pod_cgroups(driver: CgroupDriver, root: str) -> PodCgroups:
    return ScopedPods(driver, root) if isinstance(driver, SystemdDriver) else PlainPods(root)


class PlainPods:
    def __init__(self, root: str) -> None:
        self._root = root

    def place(self, parent: str, sandbox_id: str) -> tuple[str, bool]:
        return parent or f"{self._root}/{sandbox_id}", not parent

    async def hold(self, path: str, shim_pid: int, sandbox_id: str) -> None:
        """The executor makes it with the first container; shims have a cgroup of their own."""


class ScopedPods:
    def __init__(self, driver: SystemdDriver, root: str) -> None:
        self._driver = driver
        name = root.rstrip("/").rpartition("/")[2]
        self._slice = name if name.endswith(".slice") else f"{name}.slice"

    def place(self, parent: str, sandbox_id: str) -> tuple[str, bool]:
        if parent and not parent.rstrip("/").endswith(".slice"):
            raise InvalidArgument(_FIELD, f"{parent!r} is not a slice, and the cgroup manager is systemd")
        try:
            return self._driver.pod_path(parent or self._slice, f"coracle-{sandbox_id}.scope"), True
        except CgroupError as error:
            raise InvalidArgument(_FIELD, str(error)) from error

    async def hold(self, path: str, shim_pid: int, sandbox_id: str) -> None:
        await asyncio.to_thread(self._driver.hold, path, shim_pid, f"pod {sandbox_id}")
