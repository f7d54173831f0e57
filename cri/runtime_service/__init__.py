"""RuntimeService: one file per call, and `HANDLERS`, which says which calls there are.

A call that is not in the table answers UNIMPLEMENTED (`cri.rpc`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from cri.rpc import Handler
from cri.runtime_service.attach import attach
from cri.runtime_service.checkpoint_container import checkpoint_container
from cri.runtime_service.checkpoint_pod import checkpoint_pod
from cri.runtime_service.container_stats import container_stats
from cri.runtime_service.container_status import container_status
from cri.runtime_service.create_container import create_container
from cri.runtime_service.exec import exec
from cri.runtime_service.exec_sync import exec_sync
from cri.runtime_service.get_container_events import get_container_events
from cri.runtime_service.list_container_stats import list_container_stats
from cri.runtime_service.list_containers import list_containers
from cri.runtime_service.list_metric_descriptors import list_metric_descriptors
from cri.runtime_service.list_pod_sandbox import list_pod_sandbox
from cri.runtime_service.list_pod_sandbox_metrics import list_pod_sandbox_metrics
from cri.runtime_service.list_pod_sandbox_stats import list_pod_sandbox_stats
from cri.runtime_service.pod_sandbox_stats import pod_sandbox_stats
from cri.runtime_service.pod_sandbox_status import pod_sandbox_status
from cri.runtime_service.port_forward import port_forward
from cri.runtime_service.remove_container import remove_container
from cri.runtime_service.remove_pod_sandbox import remove_pod_sandbox
from cri.runtime_service.reopen_container_log import reopen_container_log
from cri.runtime_service.restore_pod import restore_pod
from cri.runtime_service.run_pod_sandbox import run_pod_sandbox
from cri.runtime_service.runtime_config import runtime_config
from cri.runtime_service.start_container import start_container
from cri.runtime_service.status import status
from cri.runtime_service.stop_container import stop_container
from cri.runtime_service.stop_pod_sandbox import stop_pod_sandbox
from cri.runtime_service.streamed_lists import (
    stream_container_stats,
    stream_containers,
    stream_pod_sandbox_metrics,
    stream_pod_sandbox_stats,
    stream_pod_sandboxes,
)
from cri.runtime_service.update_container_resources import update_container_resources
from cri.runtime_service.update_pod_sandbox_resources import update_pod_sandbox_resources
from cri.runtime_service.update_runtime_config import update_runtime_config
from cri.runtime_service.version import version

if TYPE_CHECKING:
    from cri.daemon import Daemon

HANDLERS: Final[Mapping[str, Handler[Daemon]]] = {
    "Version": version,
    "RunPodSandbox": run_pod_sandbox,
    "StopPodSandbox": stop_pod_sandbox,
    "RemovePodSandbox": remove_pod_sandbox,
    "PodSandboxStatus": pod_sandbox_status,
    "ListPodSandbox": list_pod_sandbox,
    "StreamPodSandboxes": stream_pod_sandboxes,
    "CreateContainer": create_container,
    "StartContainer": start_container,
    "StopContainer": stop_container,
    "RemoveContainer": remove_container,
    "ListContainers": list_containers,
    "StreamContainers": stream_containers,
    "ContainerStatus": container_status,
    "UpdateContainerResources": update_container_resources,
    "ReopenContainerLog": reopen_container_log,
    "ExecSync": exec_sync,
    "Exec": exec,
    "Attach": attach,
    "PortForward": port_forward,
    "ContainerStats": container_stats,
    "ListContainerStats": list_container_stats,
    "StreamContainerStats": stream_container_stats,
    "PodSandboxStats": pod_sandbox_stats,
    "ListPodSandboxStats": list_pod_sandbox_stats,
    "StreamPodSandboxStats": stream_pod_sandbox_stats,
    "UpdateRuntimeConfig": update_runtime_config,
    "Status": status,
    "GetContainerEvents": get_container_events,
    "ListMetricDescriptors": list_metric_descriptors,
    "ListPodSandboxMetrics": list_pod_sandbox_metrics,
    "StreamPodSandboxMetrics": stream_pod_sandbox_metrics,
    "RuntimeConfig": runtime_config,
    "UpdatePodSandboxResources": update_pod_sandbox_resources,
    "CheckpointContainer": checkpoint_container,
    "CheckpointPod": checkpoint_pod,
    "RestorePod": restore_pod,
}
