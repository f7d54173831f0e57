"""ListPodSandbox: from memory, and without a filter from bytes that are serialized already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.filters import matches_labels
from cri.state.records import SandboxRecord
from cri.views import sandbox_state

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def list_pod_sandbox(daemon: Daemon, request: api.ListPodSandboxRequest, call: Call) -> bytes:
    """A serialized ListPodSandboxResponse."""
    return daemon.sandboxes.list_bytes(filter_sandboxes(daemon, request.filter))


def filter_sandboxes(daemon: Daemon, wanted: api.PodSandboxFilter) -> list[SandboxRecord] | None:
    """Those that clients may see and the filter wants; None is all of them."""
    if not wanted.ByteSize():
        return None
    if wanted.id:
        found = daemon.sandboxes.find(wanted.id)
        records = [found] if found else []
    else:
        records = list(daemon.sandboxes)
    if wanted.HasField("state"):
        records = [r for r in records if sandbox_state(r) == wanted.state.state]
    return [r for r in records if not r.hidden and matches_labels(r.config.labels, wanted.label_selector)]
