"""RemovePodSandbox: idempotent; removes the pod's containers too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.teardown import remove_sandbox

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def remove_pod_sandbox(
    daemon: Daemon, request: api.RemovePodSandboxRequest, call: Call
) -> api.RemovePodSandboxResponse:
    record = daemon.sandboxes.find(request.pod_sandbox_id)
    if record is not None:
        await daemon.joined.run(
            ("remove", record.id),
            f"removing sandbox {record.id}",
            lambda progress: remove_sandbox(daemon, record),
            call.time_remaining(),
        )
    return api.RemovePodSandboxResponse()
