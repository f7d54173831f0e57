"""ListPodSandboxStats: of the ready pods that the filter wants, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.filters import matches_labels
from cri.pod_stats import sandbox_stats
from cri.state.machine import SandboxState

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def list_pod_sandbox_stats(
    daemon: Daemon, request: api.ListPodSandboxStatsRequest, call: Call
) -> api.ListPodSandboxStatsResponse:
    wanted = request.filter
    found = daemon.sandboxes.find(wanted.id) if wanted.id else None
    records = ([found] if found else []) if wanted.id else list(daemon.sandboxes)
    ready = [
        record
        for record in records
        if record.state is SandboxState.READY and matches_labels(record.config.labels, wanted.label_selector)
    ]
    return api.ListPodSandboxStatsResponse(stats=await sandbox_stats(daemon, ready))
