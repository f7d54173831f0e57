"""Attach: a way in for one client to the output and input of a running container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.runtime_service.exec import check_streams
from cri.streaming.daemon_runtime import running_container
from cri.streaming.tickets import AttachTicket

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def attach(daemon: Daemon, request: api.AttachRequest, call: Call) -> api.AttachResponse:
    check_streams(request)
    record = running_container(daemon, request.container_id)
    ticket = AttachTicket(
        container_id=record.id,
        tty=request.tty,
        stdin=request.stdin,
        stdout=request.stdout,
        stderr=request.stderr,
    )
    return api.AttachResponse(url=daemon.streaming.url(ticket))
