"""The Stream* calls: the same items as their List, in messages of a bounded size.

Every message holds at least one item, no item comes twice, and the end of the stream is the end of the list: an empty
list is a stream without messages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from cri.api import runtime_pb2 as api
from cri.framing import item
from cri.runtime_service.list_container_stats import running_stats
from cri.runtime_service.list_containers import filter_containers
from cri.runtime_service.list_pod_sandbox import filter_sandboxes
from cri.runtime_service.list_pod_sandbox_metrics import list_pod_sandbox_metrics
from cri.runtime_service.list_pod_sandbox_stats import list_pod_sandbox_stats
from cri.views import container_item, sandbox_item

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call

ITEMS_PER_MESSAGE = 200
_PODS_OF_METRICS = 20  # tens of kilobytes each

T = TypeVar("T")


async def stream_pod_sandboxes(
    daemon: Daemon, request: api.StreamPodSandboxesRequest, call: Call
) -> AsyncIterator[api.StreamPodSandboxesResponse]:
    chosen = filter_sandboxes(daemon, request.filter)
    records = [r for r in (daemon.sandboxes if chosen is None else chosen) if not r.hidden]
    for part in _parts(records):
        yield api.StreamPodSandboxesResponse(pod_sandboxes=[sandbox_item(record) for record in part])


async def stream_containers(
    daemon: Daemon, request: api.StreamContainersRequest, call: Call
) -> AsyncIterator[api.StreamContainersResponse]:
    chosen = filter_containers(daemon, request.filter)
    records = [r for r in (daemon.containers if chosen is None else chosen) if not r.hidden]
    for part in _parts(records):
        yield api.StreamContainersResponse(containers=[container_item(record) for record in part])


async def stream_container_stats(
    daemon: Daemon, request: api.StreamContainerStatsRequest, call: Call
) -> AsyncIterator[bytes]:
    """Serialized StreamContainerStatsResponses."""
    for part in _parts(await running_stats(daemon, request.filter)):
        yield b"".join(map(item, part))


async def stream_pod_sandbox_stats(
    daemon: Daemon, request: api.StreamPodSandboxStatsRequest, call: Call
) -> AsyncIterator[api.StreamPodSandboxStatsResponse]:
    whole = await list_pod_sandbox_stats(daemon, api.ListPodSandboxStatsRequest(filter=request.filter), call)
    for part in _parts(whole.stats):
        yield api.StreamPodSandboxStatsResponse(pod_sandbox_stats=part)


async def stream_pod_sandbox_metrics(
    daemon: Daemon, request: api.StreamPodSandboxMetricsRequest, call: Call
) -> AsyncIterator[api.StreamPodSandboxMetricsResponse]:
    whole = await list_pod_sandbox_metrics(daemon, api.ListPodSandboxMetricsRequest(), call)
    for part in _parts(whole.pod_metrics, _PODS_OF_METRICS):
        yield api.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=part)


def _parts(items: Sequence[T], most: int = ITEMS_PER_MESSAGE) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]
