"""Exec: a way in for one client that will run a command in a container. The command starts when the client has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.specgen.validate import check_command
from cri.streaming.daemon_runtime import running_container
from cri.streaming.tickets import ExecTicket

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def exec(daemon: Daemon, request: api.ExecRequest, call: Call) -> api.ExecResponse:
    check_command("cmd", request.cmd)
    check_streams(request)
    record = running_container(daemon, request.container_id)
    ticket = ExecTicket(
        container_id=record.id,
        args=tuple(request.cmd),
        tty=request.tty,
        stdin=request.stdin,
        stdout=request.stdout,
        stderr=request.stderr,
    )
    return api.ExecResponse(url=daemon.streaming.url(ticket))


def check_streams(request: api.ExecRequest | api.AttachRequest) -> None:
    """Raises InvalidArgument."""
    if request.tty and request.stderr:
        raise InvalidArgument("stderr", "a terminal has one output: tty and stderr exclude each other")
    if not (request.stdin or request.stdout or request.stderr):
        raise InvalidArgument("stdin", "one of stdin, stdout and stderr must be asked for")
