"""StartContainer: the container's init, made by CreateContainer, executes the workload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import FailedPrecondition
from cri.state.machine import ContainerState, Event
from oci.errors import ContainerError

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call

#: What shells answer for a command that cannot be executed, and what the peers report.
START_FAILED_EXIT_CODE = 128


async def start_container(daemon: Daemon, request: api.StartContainerRequest, call: Call) -> api.StartContainerResponse:
    record = daemon.containers.need(request.container_id)
    live = daemon.live_containers.get(record.id)
    if record.state is not ContainerState.CREATED or live is None:
        raise FailedPrecondition(f"container {record.id} is {record.state}, only a created one can be started")
    async with live.starting:
        record = daemon.containers.need(record.id)
        if record.state is not ContainerState.CREATED:
            raise FailedPrecondition(f"container {record.id} is {record.state}, only a created one can be started")
        await daemon.nri.starting(record)
        try:
            shim = await daemon.shim_of(record.sandbox_id)
            await shim.start(record.id)
        except ContainerError as error:
            daemon.containers.put(
                daemon.containers.need(record.id).moved(
                    Event.DIED,
                    exit_code=START_FAILED_EXIT_CODE,
                    finished_at=daemon.now(),
                    reason="StartError",
                    message=str(error),
                )
            )
            raise
        # The workload may have ended before we came here: then its exit is applied now.
        started = daemon.containers.put(daemon.containers.need(record.id).moved(Event.STARTED, started_at=daemon.now()))
        await daemon.nri.started(started)
        daemon.apply_pending_exit(live)
    return api.StartContainerResponse()
