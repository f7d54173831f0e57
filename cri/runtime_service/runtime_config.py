"""RuntimeConfig: which cgroup driver the kubelet has to use. It asks once, when it starts."""

from __future__ import annotations

from typing import Protocol

from cri.api import runtime_pb2 as api
from cri.rpc import Call
from oci.cgroups import CgroupDriver


class CgroupSource(Protocol):
    @property
    def cgroups(self) -> CgroupDriver: ...


async def runtime_config(
    daemon: CgroupSource, request: api.RuntimeConfigRequest, call: Call
) -> api.RuntimeConfigResponse:
    driver = api.SYSTEMD if daemon.cgroups.name == "systemd" else api.CGROUPFS
    return api.RuntimeConfigResponse(linux=api.LinuxRuntimeConfiguration(cgroup_driver=driver))
