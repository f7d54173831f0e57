"""StopContainer: idempotent; an id that nobody knows is stopped already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.state.machine import ContainerState
from cri.stopping import stop_container as stop

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def stop_container(daemon: Daemon, request: api.StopContainerRequest, call: Call) -> api.StopContainerResponse:
    if request.timeout < 0:
        raise InvalidArgument("timeout", f"{request.timeout} s is negative")
    record = daemon.containers.find(request.container_id)
    if record is not None and record.state in (ContainerState.RUNNING, ContainerState.CREATED):
        await stop(daemon, record, request.timeout)
        await daemon.nri.stopped(record.id)
    return api.StopContainerResponse()
