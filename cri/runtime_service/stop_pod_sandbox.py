"""StopPodSandbox: idempotent; containers killed, network and namespaces given back, the record stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.state.machine import SandboxState
from cri.teardown import stop_sandbox

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def stop_pod_sandbox(
    daemon: Daemon, request: api.StopPodSandboxRequest, call: Call
) -> api.StopPodSandboxResponse:
    record = daemon.sandboxes.find(request.pod_sandbox_id)
    if record is not None and record.state in (SandboxState.READY, SandboxState.STOPPING):
        await stop_sandbox(daemon, record.id, call.time_remaining())
    return api.StopPodSandboxResponse()
