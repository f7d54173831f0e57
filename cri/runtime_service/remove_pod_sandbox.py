"""RemovePodSandbox: idempotent; removes the pod's containers too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.state.machine import SandboxState
from cri.teardown import remove_sandbox

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def remove_pod_sandbox(
    daemon: Daemon, request: api.RemovePodSandboxRequest, call: Call
) -> api.RemovePodSandboxResponse:
    record = daemon.sandboxes.find(request.pod_sandbox_id)
    if record is not None and record.state is not SandboxState.CREATING:
        await remove_sandbox(daemon, record.id, call.time_remaining())
    return api.RemovePodSandboxResponse()
