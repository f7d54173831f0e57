"""ListMetricDescriptors: which metrics ListPodSandboxMetrics gives on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.pod_metrics import NETWORK_FAMILIES
from cri.pod_metrics_reading import container_families

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def list_metric_descriptors(
    daemon: Daemon, request: api.ListMetricDescriptorsRequest, call: Call
) -> api.ListMetricDescriptorsResponse:
    families = [*container_families(daemon), *(family for family, _ in NETWORK_FAMILIES)]
    return api.ListMetricDescriptorsResponse(descriptors=[family.descriptor() for family in families])
