"""ListPodSandboxMetrics: cAdvisor's metrics of every ready pod and its running containers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.pod_metrics_reading import sandbox_metrics
from cri.state.machine import SandboxState

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def list_pod_sandbox_metrics(
    daemon: Daemon, request: api.ListPodSandboxMetricsRequest, call: Call
) -> api.ListPodSandboxMetricsResponse:
    ready = [record for record in daemon.sandboxes if record.state is SandboxState.READY]
    metrics = [await asyncio.to_thread(sandbox_metrics, daemon, record) for record in ready]
    return api.ListPodSandboxMetricsResponse(pod_metrics=metrics)
