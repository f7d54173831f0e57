"""RemoveContainer: idempotent; kills what still runs. Two callers at once share one removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.state.machine import ContainerState
from cri.teardown import remove_container as remove

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def remove_container(
    daemon: Daemon, request: api.RemoveContainerRequest, call: Call
) -> api.RemoveContainerResponse:
    record = daemon.containers.find(request.container_id)
    if record is not None and record.state is not ContainerState.CREATING:
        await remove(daemon, record.id, call.time_remaining())
    return api.RemoveContainerResponse()
