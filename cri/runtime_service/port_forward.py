"""PortForward: a way in for one client to ports at a pod's localhost; the client's streams name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import FailedPrecondition, InvalidArgument
from cri.state.machine import SandboxState
from cri.streaming.tickets import PortForwardTicket

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def port_forward(daemon: Daemon, request: api.PortForwardRequest, call: Call) -> api.PortForwardResponse:
    for port in request.port:
        if not 0 < port < 65536:
            raise InvalidArgument("port", f"{port} is not a port")
    record = daemon.sandboxes.need(request.pod_sandbox_id)
    if record.state is not SandboxState.READY:
        raise FailedPrecondition(f"sandbox {record.id} is {record.state}, not running")
    ticket = PortForwardTicket(sandbox_id=record.id, ports=tuple(request.port))
    return api.PortForwardResponse(url=daemon.streaming.url(ticket))
