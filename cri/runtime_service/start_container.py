"""StartContainer: the container's init, made by CreateContainer, executes the workload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import FailedPrecondition
from cri.joined import Progress
from cri.state.machine import ContainerState, Event
from cri.state.records import ContainerRecord
from oci.errors import ContainerError

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call

#: What shells answer for a command that cannot be executed, and what the peers report.
START_FAILED_EXIT_CODE = 128


async def start_container(daemon: Daemon, request: api.StartContainerRequest, call: Call) -> api.StartContainerResponse:
    record = daemon.containers.need(request.container_id)
    await daemon.joined.run(
        ("start", record.id),
        f"starting container {record.id}",
        lambda progress: _start(daemon, record.id, progress),
        call.time_remaining(),
    )
    return api.StartContainerResponse()


async def _start(daemon: Daemon, container_id: str, progress: Progress) -> None:
    record = daemon.containers.need(container_id)
    live = daemon.live_containers.get(container_id)
    if record.state is not ContainerState.CREATED or live is None:
        raise FailedPrecondition(f"container {record.id} is {record.state}, only a created one can be started")
    try:
        async with live.starting:
            progress.enter("asking the plugins")
            await daemon.nri.starting(record)
            progress.enter("waiting for the shim")
            started = await _execute(daemon, record)
    finally:
        # The workload may have ended before we came here, or something else went wrong: an exit is never forgotten.
        daemon.apply_pending_exit(live)
    await daemon.nri.started(started)


async def _execute(daemon: Daemon, record: ContainerRecord) -> ContainerRecord:
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
    return daemon.containers.put(daemon.containers.need(record.id).moved(Event.STARTED, started_at=daemon.now()))
