"""ContainerStats: one container's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def container_stats(daemon: Daemon, request: api.ContainerStatsRequest, call: Call) -> api.ContainerStatsResponse:
    record = daemon.containers.need(request.container_id)
    return api.ContainerStatsResponse(stats=(await daemon.statistics.of([record]))[0])
