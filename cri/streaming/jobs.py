"""The work for each client that was let in: a session on its wire, and a task that ends with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Final

from cri.errors import status_of
from cri.log_lines import fields
from cri.streaming.attach import serve_attach
from cri.streaming.command import CommandClient, SpdyStreams, expected
from cri.streaming.errors import StreamsMissing
from cri.streaming.exec import serve_exec
from cri.streaming.handshake import Carrier, Upgrade
from cri.streaming.port_forward import PortForwarder, forward_ports
from cri.streaming.remote_command import CommandProtocol
from cri.streaming.runtime import Runtime
from cri.streaming.spdy_session import SpdySession
from cri.streaming.tickets import AttachTicket, ExecTicket, PortForwardTicket, Ticket
from cri.streaming.websocket_session import TunnelLink, WebSocketSession
from cri.streaming.wire import Wire

_log: Final = logging.getLogger("cri.streaming")


class Jobs:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, wire: Wire, ticket: Ticket, upgrade: Upgrade) -> None:
        """From here on the wire has another user."""
        _log.info("stream opened", extra=fields(kind=ticket.kind, carrier=upgrade.carrier.value, **_subject(ticket)))
        if isinstance(ticket, PortForwardTicket):
            if upgrade.command is not None:
                self._websocket_port_forward(wire, ticket, upgrade.command)
            else:
                self._port_forward(wire, ticket, upgrade.carrier)
        elif upgrade.command is None:
            raise ValueError(f"an upgrade for {ticket.kind} without a protocol")
        elif upgrade.carrier is Carrier.SPDY:
            self._spdy_command(wire, ticket, upgrade.command)
        else:
            self._websocket_command(wire, ticket, upgrade.command)

    async def close(self) -> None:
        """End all commands, and wait until each has cleaned up."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spdy_command(self, wire: Wire, ticket: ExecTicket | AttachTicket, protocol: CommandProtocol) -> None:
        streams = SpdyStreams(expected(ticket, protocol))
        job = _Job()
        session = SpdySession(wire, on_channel=streams.accept, on_gone=job.cancel)
        wire.user = session

        async def work() -> None:
            try:
                await streams.complete()
            except StreamsMissing as error:
                _log.info("client dropped: %s", error)
                session.finish()
                return
            await self._command(ticket, CommandClient(protocol, session, streams.channels))

        self._run(job, work())

    def _websocket_command(self, wire: Wire, ticket: ExecTicket | AttachTicket, protocol: CommandProtocol) -> None:
        job = _Job()
        session = _websocket_session(wire, expected(ticket, protocol), protocol, job)
        self._run(job, self._command(ticket, CommandClient(protocol, session, session.by_number)))

    def _websocket_port_forward(self, wire: Wire, ticket: PortForwardTicket, protocol: CommandProtocol) -> None:
        job = _Job()
        session = _websocket_session(wire, range(2 * len(ticket.ports)), protocol, job)
        self._run(job, forward_ports(self._runtime, ticket, session))

    def _port_forward(self, wire: Wire, ticket: PortForwardTicket, carrier: Carrier) -> None:
        forwarder = PortForwarder(self._runtime, ticket)
        if carrier is Carrier.TUNNEL:
            tunnel = TunnelLink(wire)
            tunnel.user = SpdySession(tunnel, on_channel=forwarder.accept, on_gone=forwarder.close)
            wire.user = tunnel
        else:
            wire.user = SpdySession(wire, on_channel=forwarder.accept, on_gone=forwarder.close)

    def _run(self, job: _Job, work: Coroutine[Any, Any, None]) -> None:
        job.task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(job.task)
        job.task.add_done_callback(self._tasks.discard)

    async def _command(self, ticket: ExecTicket | AttachTicket, client: CommandClient) -> None:
        try:
            if isinstance(ticket, ExecTicket):
                await serve_exec(self._runtime, ticket, client)
            else:
                await serve_attach(self._runtime, ticket, client)
        except Exception as error:
            status = status_of(error)
            _log.log(
                logging.ERROR if status.unexpected else logging.INFO,
                "stream failed",
                extra=fields(kind=ticket.kind, error=status.text, **_subject(ticket)),
                exc_info=error if status.unexpected else None,
            )
            verb = "executing command in" if isinstance(ticket, ExecTicket) else "attaching to"
            client.failed(f"error {verb} container: {status.text}")


class _Job:
    """The task for a connection, cancelled at most once: a second time would hit it while it cleans up."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        if self.task is not None and not self._cancelled:
            self._cancelled = True
            self.task.cancel()


def _websocket_session(wire: Wire, numbers: Iterable[int], protocol: CommandProtocol, job: _Job) -> WebSocketSession:
    session = WebSocketSession(
        wire,
        numbers,
        base64_text=protocol.base64,
        close_signals=protocol.has_close_signals,
        on_gone=job.cancel,
    )
    wire.user = session
    return session


def _subject(ticket: Ticket) -> dict[str, str]:
    if isinstance(ticket, PortForwardTicket):
        return {"sandbox": ticket.sandbox_id}
    return {"container": ticket.container_id}
