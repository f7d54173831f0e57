"""UpdateContainerResources: zero and empty leave a limit as it is; what is in force shows in ContainerStatus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import FailedPrecondition, Unavailable
from cri.nri.resources import from_spec, swap_beside, to_cri
from cri.specgen.resources import linux_resources
from cri.specgen.validate import check_resources
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord
from oci.errors import CgroupError
from oci.spec import Resources

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def update_container_resources(
    daemon: Daemon, request: api.UpdateContainerResourcesRequest, call: Call
) -> api.UpdateContainerResourcesResponse:
    check_resources(request.linux)
    record = _alive(daemon, request.container_id)
    live = daemon.live_containers.get(record.id)
    if live is None:
        raise Unavailable(f"container {record.id}: its pod has not been found again yet; try again")
    async with live.updating:
        record = _alive(daemon, record.id)
        asked = with_swap(record.resources, request.linux)
        wanted = await daemon.nri.updating(record, linux_resources(asked, daemon.host))
        async with live.limiting:
            record = await _limit(daemon, record.id, asked, wanted)
        await daemon.nri.updated(record)
    return api.UpdateContainerResourcesResponse()


def _alive(daemon: Daemon, container_id: str) -> ContainerRecord:
    record = daemon.containers.need(container_id)
    if record.state not in (ContainerState.CREATED, ContainerState.RUNNING):
        raise FailedPrecondition(f"container {record.id} is {record.state}: it has no resources to update")
    return record


async def _limit(
    daemon: Daemon, container_id: str, asked: api.LinuxContainerResources, wanted: Resources
) -> ContainerRecord:
    record = _alive(daemon, container_id)  # it may have ended while the plugins were asked
    try:
        await asyncio.to_thread(daemon.cgroups.open(record.cgroup).update, wanted)
    except CgroupError:
        _alive(daemon, container_id)  # it ended, and its cgroup went: that is what the caller should hear
        raise
    record = daemon.containers.need(container_id)
    now = merged(merged(record.resources, asked), to_cri(from_spec(wanted)))
    return daemon.containers.put(record.with_(resources_bytes=now.SerializeToString()))


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
