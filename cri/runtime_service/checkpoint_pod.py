"""CheckpointPod: containers of a pod, all at the same moment, into an empty directory. They run on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.checkpoint import pods
from cri.checkpoint.dump import dump
from cri.errors import FailedPrecondition, InvalidArgument
from cri.joined import Progress
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def checkpoint_pod(daemon: Daemon, request: api.CheckpointPodRequest, call: Call) -> api.CheckpointPodResponse:
    criu = await daemon.checkpoints.program("CheckpointPod")
    if call.deadline is None:
        raise InvalidArgument("deadline", "a checkpoint of a pod stops its containers: the call needs a deadline")
    if request.options:
        raise InvalidArgument("options", f"{min(request.options)!r} is not known")
    records = _selected(daemon, request)
    directory = _empty_directory(request.output_path)
    archives = pods.locations(directory, records)

    async def work(progress: Progress) -> None:
        progress.enter("waiting for CRIU")
        await dump(daemon, criu, {archives[name]: record for name, record in records.items()})
        pods.write_list(directory, archives)

    what = f"checkpoint of pod {request.pod_sandbox_id}"
    await daemon.joined.run(("checkpoint", str(directory)), what, work, call.time_remaining())
    return api.CheckpointPodResponse()


def _empty_directory(path: str) -> Path:
    directory = Path(path)
    try:
        usable = directory.is_absolute() and directory.is_dir() and not os.listdir(directory)
    except (OSError, ValueError) as error:
        raise InvalidArgument("output_path", f"{path!r}: {error}") from None
    if not usable:
        raise InvalidArgument("output_path", f"{path!r} is not an existing, empty directory")
    return directory


def _selected(daemon: Daemon, request: api.CheckpointPodRequest) -> dict[str, ContainerRecord]:
    """By name; all that run, unless some are named."""
    sandbox = daemon.sandboxes.need(request.pod_sandbox_id)
    known = {record.id: record for record in daemon.containers_of(sandbox.id)}
    if request.container_ids:
        chosen = [daemon.containers.need(name) for name in request.container_ids]
    else:
        chosen = [record for record in known.values() if record.state is ContainerState.RUNNING]
    for record in chosen:
        if record.id not in known:
            raise InvalidArgument("container_ids", f"container {record.id} is not of pod {sandbox.id}")
    if not chosen:
        raise FailedPrecondition(f"pod {sandbox.id} has no running container")
    return {record.config.metadata.name: record for record in chosen}
