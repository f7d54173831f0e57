"""UpdatePodSandboxResources: told before the kubelet changes a pod's cgroup itself; remembered, nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import FailedPrecondition
from cri.specgen.validate import check_resources
from cri.state.machine import SandboxState

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def update_pod_sandbox_resources(
    daemon: Daemon, request: api.UpdatePodSandboxResourcesRequest, call: Call
) -> api.UpdatePodSandboxResourcesResponse:
    check_resources(request.overhead)
    check_resources(request.resources)
    record = daemon.sandboxes.need(request.pod_sandbox_id)
    if record.state is not SandboxState.READY:
        raise FailedPrecondition(f"sandbox {record.id} is {record.state}, not ready")
    config = api.PodSandboxConfig.FromString(record.config_bytes)
    config.linux.overhead.CopyFrom(request.overhead)
    config.linux.resources.CopyFrom(request.resources)
    changed = config.SerializeToString(deterministic=True)
    await daemon.nri.updating_pod(record.with_(config_bytes=changed))
    record = daemon.sandboxes.need(record.id)  # it may have stopped while the plugins were asked
    await daemon.nri.updated_pod(daemon.sandboxes.put(record.with_(config_bytes=changed)))
    return api.UpdatePodSandboxResourcesResponse()
