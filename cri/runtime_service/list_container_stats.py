"""ListContainerStats: of the running containers that the filter wants, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.framing import item
from cri.runtime_service.list_containers import select_containers
from cri.state.machine import ContainerState

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def list_container_stats(daemon: Daemon, request: api.ListContainerStatsRequest, call: Call) -> bytes:
    """A serialized ListContainerStatsResponse."""
    return b"".join(map(item, await running_stats(daemon, request.filter)))


async def running_stats(daemon: Daemon, wanted: api.ContainerStatsFilter) -> list[bytes]:
    """A serialized ContainerStats of each."""
    records = select_containers(daemon, wanted.id, wanted.pod_sandbox_id, wanted.label_selector)
    running = [record for record in records if record.state is ContainerState.RUNNING]
    return await daemon.statistics.of(running)
