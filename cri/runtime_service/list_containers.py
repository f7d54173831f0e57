"""ListContainers: from memory, and without a filter from bytes that are serialized already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.filters import matches_labels
from cri.state.records import ContainerRecord
from cri.views import container_state

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def list_containers(daemon: Daemon, request: api.ListContainersRequest, call: Call) -> bytes:
    """A serialized ListContainersResponse."""
    return daemon.containers.list_bytes(filter_containers(daemon, request.filter))


def filter_containers(daemon: Daemon, wanted: api.ContainerFilter) -> list[ContainerRecord] | None:
    """Those that clients may see and the filter wants; None is all of them."""
    if not wanted.ByteSize():
        return None
    records = select_containers(daemon, wanted.id, wanted.pod_sandbox_id, wanted.label_selector)
    if wanted.HasField("state"):
        records = [r for r in records if container_state(r) == wanted.state.state]
    return records


def select_containers(
    daemon: Daemon, container_id: str, sandbox_id: str, labels: Mapping[str, str]
) -> list[ContainerRecord]:
    """By id (or its beginning), by sandbox, by labels; the statistics RPCs filter by the same three."""
    sandbox = daemon.sandboxes.find(sandbox_id) if sandbox_id else None
    if container_id:
        found = daemon.containers.find(container_id)
        records = [found] if found else []
    elif sandbox_id:
        records = daemon.containers_of(sandbox.id) if sandbox else []
    else:
        records = list(daemon.containers)
    if sandbox_id:
        records = [r for r in records if sandbox and r.sandbox_id == sandbox.id]
    return [r for r in records if not r.hidden and matches_labels(r.config.labels, labels)]
