"""RestorePod: a new pod with containers out of a checkpoint; created, their processes wait for StartContainer.

Mounts, images and privileges are those of the request. What fails takes the new pod with it.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.checkpoint import archive, pods
from cri.checkpoint.restoring import Restored
from cri.errors import InvalidArgument
from cri.joined import Progress
from cri.runtime_service.create_container import create_restored
from cri.runtime_service.run_pod_sandbox import run_pod_sandbox
from cri.specgen.validate import check_container_config
from cri.teardown import all_of, remove_sandbox

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def restore_pod(daemon: Daemon, request: api.RestorePodRequest, call: Call) -> api.RestorePodResponse:
    criu = await daemon.checkpoints.program("RestorePod")
    if request.options:
        raise InvalidArgument("options", f"{min(request.options)!r} is not known")
    directory = Path(request.checkpoint_path)
    if not directory.is_absolute():
        raise InvalidArgument("checkpoint_path", f"{request.checkpoint_path!r} is not an absolute path")
    archives = pods.read_list(directory)
    for config in request.container_configs:
        check_container_config(config)
    names = [config.metadata.name for config in request.container_configs]
    if sorted(names) != sorted(archives):
        raise InvalidArgument("container_configs", f"names {sorted(names)}, the checkpoint has {sorted(archives)}")

    async def work(progress: Progress) -> api.RestorePodResponse:
        return await _restore(daemon, request, call, archives, criu)

    metadata = request.config.metadata
    what = f"restoring pod {metadata.namespace}/{metadata.name}"
    key = ("restore", metadata.uid, metadata.attempt, str(directory))
    return await daemon.joined.run(key, what, work, call.time_remaining())


async def _restore(
    daemon: Daemon, request: api.RestorePodRequest, call: Call, archives: dict[str, Path], criu: str
) -> api.RestorePodResponse:
    ask = api.RunPodSandboxRequest(config=request.config, runtime_handler=request.runtime_handler)
    sandbox_id = (await run_pod_sandbox(daemon, ask, call)).pod_sandbox_id
    response = api.RestorePodResponse(pod_sandbox_id=sandbox_id)
    work = daemon.trash.room("restore-")
    try:

        async def create(config: api.ContainerConfig, unpacked: Path) -> None:
            await asyncio.to_thread(archive.unpack, archives[config.metadata.name], unpacked)
            record = await create_restored(daemon, sandbox_id, config, Restored(directory=unpacked, criu=criu))
            made[config.metadata.name] = record.id

        made: dict[str, str] = {}
        await all_of(create(config, work / str(index)) for index, config in enumerate(request.container_configs))
        for config in request.container_configs:
            name = config.metadata.name
            response.restored_containers.add(name=name, container_id=made[name])
    except BaseException:
        await asyncio.gather(remove_sandbox(daemon, sandbox_id), return_exceptions=True)
        raise
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
    return response
