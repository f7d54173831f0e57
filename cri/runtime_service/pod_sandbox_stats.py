"""PodSandboxStats: one pod's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.pod_stats import sandbox_stats

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def pod_sandbox_stats(
    daemon: Daemon, request: api.PodSandboxStatsRequest, call: Call
) -> api.PodSandboxStatsResponse:
    record = daemon.sandboxes.need(request.pod_sandbox_id)
    (stats,) = await sandbox_stats(daemon, [record])
    return api.PodSandboxStatsResponse(stats=stats)
