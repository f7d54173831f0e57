"""ContainerStats: one container's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import NotFound
from cri.framing import item

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def container_stats(daemon: Daemon, request: api.ContainerStatsRequest, call: Call) -> bytes:
    """A serialized ContainerStatsResponse."""
    record = daemon.containers.need(request.container_id)
    found = await daemon.statistics.of([record])
    if not found:
        raise NotFound("container", request.container_id)
    return item(found[0])
