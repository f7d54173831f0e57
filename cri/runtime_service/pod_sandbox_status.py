"""PodSandboxStatus: from memory, with the states of the pod's containers at the same moment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import NotFound
from cri.state.records import SandboxRecord
from cri.views import container_status, sandbox_status

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def pod_sandbox_status(
    daemon: Daemon, request: api.PodSandboxStatusRequest, call: Call
) -> api.PodSandboxStatusResponse:
    record = daemon.sandboxes.need(request.pod_sandbox_id)
    if record.hidden:
        raise NotFound("sandbox", request.pod_sandbox_id)
    response = api.PodSandboxStatusResponse(
        status=sandbox_status(record),
        containers_statuses=[container_status(c) for c in daemon.containers_of(record.id) if not c.hidden],
        timestamp=daemon.events.now(),
    )
    if request.verbose:
        response.info["info"] = json.dumps(_info(record))
    return response


def _info(record: SandboxRecord) -> dict[str, object]:
    """For people (crictl inspectp): what the CRI's own fields do not say."""
    return {
        "state": record.state,
        "pid": record.init_pid or record.shim_pid,
        "shimPid": record.shim_pid,
        "netns": record.netns,
        "cgroup": record.cgroup,
        "reason": record.reason,
    }
