"""CheckpointContainer: the kubelet's /checkpoint. The container runs on; `location` is the tar file to be made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.checkpoint.dump import dump
from cri.errors import InvalidArgument
from cri.joined import Progress

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def checkpoint_container(
    daemon: Daemon, request: api.CheckpointContainerRequest, call: Call
) -> api.CheckpointContainerResponse:
    criu = await daemon.checkpoints.program("CheckpointContainer")
    record = daemon.containers.need(request.container_id)
    location = _location(request.location)

    async def work(progress: Progress) -> None:
        progress.enter("waiting for CRIU")
        await dump(daemon, criu, {location: record}, request.timeout)

    what = f"checkpoint of container {record.id}"
    await daemon.joined.run(("checkpoint", record.id, str(location)), what, work, call.time_remaining())
    return api.CheckpointContainerResponse()


def _location(path: str) -> Path:
    location = Path(path)
    if not location.is_absolute():
        raise InvalidArgument("location", f"{path!r} is not an absolute path")
    try:
        if not location.parent.is_dir():
            raise InvalidArgument("location", f"{location.parent} is no directory")
        if location.is_dir():
            raise InvalidArgument("location", f"{location} is a directory")
    except (OSError, ValueError) as error:
        raise InvalidArgument("location", f"{path!r}: {error}") from None
    return location
