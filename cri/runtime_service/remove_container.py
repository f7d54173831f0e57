"""RemoveContainer: idempotent; kills what still runs. Two callers at once share one removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.teardown import remove_container as remove

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def remove_container(
    daemon: Daemon, request: api.RemoveContainerRequest, call: Call
) -> api.RemoveContainerResponse:
    record = daemon.containers.find(request.container_id)
    if record is not None:
        await daemon.joined.run(
            ("remove", record.id),
            f"removing container {record.id}",
            lambda progress: remove(daemon, record),
            call.time_remaining(),
        )
    return api.RemoveContainerResponse()
