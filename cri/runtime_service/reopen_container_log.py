"""ReopenContainerLog: after the kubelet renamed the log. Not running is an error, and then no file is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import FailedPrecondition
from cri.state.machine import ContainerState

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def reopen_container_log(
    daemon: Daemon, request: api.ReopenContainerLogRequest, call: Call
) -> api.ReopenContainerLogResponse:
    record = daemon.containers.need(request.container_id)
    if record.state is not ContainerState.RUNNING:
        raise FailedPrecondition(f"container {record.id} is {record.state}, not running: its log is not reopened")
    shim = await daemon.shim_of(record.sandbox_id)
    await shim.reopen_log(record.id)
    return api.ReopenContainerLogResponse()
