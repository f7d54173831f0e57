"""Everything that is known, for a daemon that has just come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oci.protocol.messages import ExecState, SandboxNamespaces, ShimState
from oci.shim.container import Container

if TYPE_CHECKING:
    from oci.shim.sandbox import Sandbox


def describe(
    sandbox: Sandbox,
    pid: int,
    containers: Sequence[Container],
    execs: tuple[ExecState, ...],
) -> ShimState:
    namespaces = sandbox.namespaces()
    held = {name: getattr(namespaces, name) for name in (*SandboxNamespaces.FDS, "init_pid")}
    known = tuple(container.describe() for container in containers)
    return ShimState(sandbox_id=sandbox.id, pid=pid, containers=known, execs=execs, **held)
