"""ContainerStatus: from memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import NotFound
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord
from cri.views import container_status as view

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def container_status(
    daemon: Daemon, request: api.ContainerStatusRequest, call: Call
) -> api.ContainerStatusResponse:
    record = daemon.containers.need(request.container_id)
    if record.hidden:
        raise NotFound("container", request.container_id)
    response = api.ContainerStatusResponse(status=view(record))
    if request.verbose:
        response.info["info"] = json.dumps(_info(daemon, record))
    return response


def _info(daemon: Daemon, record: ContainerRecord) -> dict[str, object]:
    """For people (crictl inspect): what the CRI's own fields do not say."""
    try:
        specification = json.loads((daemon.paths.bundle(record.id) / "config.json").read_bytes())
    except FileNotFoundError:  # after a boot; the record outlives the bundle
        specification = {}
    return {
        "sandboxID": record.sandbox_id,
        "pid": record.pid,
        "cgroup": record.cgroup,
        "rootfs": f"/proc/{record.pid}/root" if record.state is ContainerState.RUNNING else "",
        "writableLayer": str(daemon.paths.container(record.id) / "upper"),
        "runtimeSpec": specification,
    }
