"""UpdateContainerResources: zero and empty leave a limit as it is; what is in force shows in ContainerStatus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import FailedPrecondition
from cri.nri.resources import from_spec, swap_beside, to_cri
from cri.specgen.resources import linux_resources
from cri.specgen.validate import check_resources
from cri.state.machine import ContainerState

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def update_container_resources(
    daemon: Daemon, request: api.UpdateContainerResourcesRequest, call: Call
) -> api.UpdateContainerResourcesResponse:
    check_resources(request.linux)
    record = daemon.containers.need(request.container_id)
    if record.state not in (ContainerState.CREATED, ContainerState.RUNNING):
        raise FailedPrecondition(f"container {record.id} is {record.state}: it has no resources to update")
    asked = with_swap(record.resources, request.linux)
    wanted = await daemon.nri.updating(record, linux_resources(asked, daemon.host))
    await asyncio.to_thread(daemon.cgroups.open(record.cgroup).update, wanted)
    record = daemon.containers.need(record.id)
    now = merged(merged(record.resources, asked), to_cri(from_spec(wanted)))
    await daemon.nri.updated(daemon.containers.put(record.with_(resources_bytes=now.SerializeToString())))
    return api.UpdateContainerResourcesResponse()


def with_swap(current: api.LinuxContainerResources, update: api.LinuxContainerResources) -> api.LinuxContainerResources:
    """A swap limit counts the memory too: one in force follows a memory limit that comes alone."""
    if update.memory_swap_limit_in_bytes or not (update.memory_limit_in_bytes and current.memory_swap_limit_in_bytes):
        return update
    result = api.LinuxContainerResources()
    result.CopyFrom(update)
    result.memory_swap_limit_in_bytes = swap_beside(
        update.memory_limit_in_bytes, current.memory_limit_in_bytes or None, current.memory_swap_limit_in_bytes
    )
    return result


def merged(current: api.LinuxContainerResources, update: api.LinuxContainerResources) -> api.LinuxContainerResources:
    result = api.LinuxContainerResources()
    result.CopyFrom(current)
    if update.hugepage_limits:
        del result.hugepage_limits[:]
    result.MergeFrom(update)
    return result
