"""Listens for streaming clients, lets in who has a token, and starts the work for each connection.

connection → request → ticket → upgrade → session and its work → the last word, or the client is gone
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final

from cri.config.schema import StreamingSettings
from cri.errors import FailedPrecondition, status_of
from cri.log_lines import fields
from cri.streaming.attach import serve_attach
from cri.streaming.command import CommandClient, SpdyStreams, expected
from cri.streaming.errors import Refused, StreamsMissing
from cri.streaming.exec import serve_exec
from cri.streaming.flow import Link
from cri.streaming.handshake import Carrier, Upgrade, negotiate, split_path
from cri.streaming.http import Exchange, Request
from cri.streaming.port_forward import PortForwarder
from cri.streaming.remote_command import CommandProtocol
from cri.streaming.runtime import Runtime
from cri.streaming.spdy_session import SpdySession
from cri.streaming.tickets import AttachTicket, ExecTicket, PortForwardTicket, Ticket, Tickets
from cri.streaming.websocket_session import TunnelLink, WebSocketSession
from cri.streaming.wire import Wire

_log: Final = logging.getLogger("cri.streaming")

#: For a client to send its request; connections that have not sent one yet are limited.
REQUEST_TIMEOUT_S: Final = 10.0
MAX_STRANGERS: Final = 256
_BACKLOG: Final = 512
#: Addresses to listen on that are none to connect to.
_UNSPECIFIED: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


class StreamingServer:
    """Built by `open`. `url` makes a way in for one client; `close` drops all of them."""

    def __init__(self, settings: StreamingSettings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._tickets = Tickets(self._loop.time)
        self._strangers = 0
        self._wires: set[Wire] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._tls = tls_context(settings)
        self._server: asyncio.Server | None = None
        self._origin = ""

    @classmethod
    async def open(cls, settings: StreamingSettings, runtime: Runtime) -> StreamingServer:
        """Raises FailedPrecondition when the address cannot be had or the certificate cannot be used."""
        server = cls(settings, runtime)
        try:
            listening = await server._loop.create_server(
                lambda: _Stranger(server).wire,
                settings.address,
                settings.port,
                ssl=server._tls,
                ssl_handshake_timeout=REQUEST_TIMEOUT_S if server._tls else None,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise FailedPrecondition(
                f"cannot listen for streams at {settings.address}:{settings.port}: {error.strerror or error}"
            ) from error
        server._server = listening
        host = _UNSPECIFIED.get(settings.address, settings.address)
        port = listening.sockets[0].getsockname()[1]
        server._origin = f"{'https' if server._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        return server

    def url(self, ticket: Ticket) -> str:
        """For the client to open within a minute. Raises ResourceExhausted."""
        return f"{self._origin}/{ticket.kind}/{self._tickets.add(ticket)}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        work = tuple(self._work)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for wire in tuple(self._wires):
            wire.abort()

    # --- called by _Stranger

    def may_enter(self) -> bool:
        return self._strangers < MAX_STRANGERS

    def count_stranger(self, change: int) -> None:
        self._strangers += change

    def new_wire(self, stranger: _Stranger) -> Wire:
        wire = Wire(stranger, idle_timeout=self._settings.idle_timeout, on_closed=self._wires.discard)
        self._wires.add(wire)
        return wire

    def admit(self, request: Request) -> tuple[Ticket, Upgrade]:
        """Raises Refused. The token is used up even if the upgrade then fails."""
        kind, token = split_path(request)
        ticket = self._tickets.take(kind, token)
        if ticket is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no such token: it has been used, has expired, or never was")
        return ticket, negotiate(request, ticket)

    def start(self, wire: Wire, ticket: Ticket, upgrade: Upgrade) -> None:
        """From here on the wire has another user."""
        _log.info("stream opened", extra=fields(kind=ticket.kind, carrier=upgrade.carrier.value, **_subject(ticket)))
        if isinstance(ticket, PortForwardTicket):
            self._start_port_forward(wire, ticket, upgrade)
        elif upgrade.command is not None:
            if upgrade.carrier is Carrier.SPDY:
                self._start_spdy_command(wire, ticket, upgrade.command)
            else:
                self._start_websocket_command(wire, ticket, upgrade.command)

    # ---

    def _start_spdy_command(self, wire: Wire, ticket: ExecTicket | AttachTicket, protocol: CommandProtocol) -> None:
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

    def _start_websocket_command(
        self, wire: Wire, ticket: ExecTicket | AttachTicket, protocol: CommandProtocol
    ) -> None:
        numbers = expected(ticket, protocol)
        job = _Job()
        session = WebSocketSession(
            wire,
            numbers,
            base64_text=protocol.base64,
            close_signals=protocol.has_close_signals,
            on_gone=job.cancel,
        )
        wire.user = session
        self._run(job, self._command(ticket, CommandClient(protocol, session, session.by_number)))

    def _start_port_forward(self, wire: Wire, ticket: PortForwardTicket, upgrade: Upgrade) -> None:
        forwarder = PortForwarder(self._runtime, ticket)
        link: Link = wire
        tunnel = None
        if upgrade.carrier is Carrier.TUNNEL:
            link = tunnel = TunnelLink(wire)
        session = SpdySession(link, on_channel=forwarder.accept, on_gone=forwarder.close)
        if tunnel is None:
            wire.user = session
        else:
            tunnel.user = session
            wire.user = tunnel

    def _run(self, job: _Job, work: Coroutine[Any, Any, None]) -> None:
        job.task = self._loop.create_task(work)
        self._work.add(job.task)
        job.task.add_done_callback(self._work.discard)

    async def _command(self, ticket: ExecTicket | AttachTicket, client: CommandClient) -> None:
        try:
            if isinstance(ticket, ExecTicket):
                await serve_exec(self._runtime, ticket, client)
            else:
                await serve_attach(self._runtime, ticket, client)
        except Exception as error:
            status = status_of(error)
            level = logging.ERROR if status.unexpected else logging.INFO
            trace = error if status.unexpected else None
            facts = fields(kind=ticket.kind, error=status.text, **_subject(ticket))
            _log.log(level, "stream failed", extra=facts, exc_info=trace)
            verb = "executing command in" if isinstance(ticket, ExecTicket) else "attaching to"
            client.failed(f"error {verb} container: {status.text}")


class _Job:
    """The work for a connection, cancelled at most once: a second time would hit it while it cleans up."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        if self.task is not None and not self._cancelled:
            self._cancelled = True
            self.task.cancel()


class _Stranger:
    """A client until its request is complete. A `LinkUser`."""

    def __init__(self, server: StreamingServer) -> None:
        self.wire = server.new_wire(self)
        self._server = server
        self._exchange = Exchange()
        self._may_enter = server.may_enter()
        self._counted = True
        server.count_stranger(1)
        self._timer = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT_S, self.wire.abort)

    def received(self, data: bytes) -> None:
        try:
            if not self._may_enter:
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections without a request")
            request = self._exchange.receive(data)
            if request is None:
                return
            ticket, upgrade = self._server.admit(request)
        except Refused as refused:
            _log.info("stream refused", extra=fields(status=int(refused.status), error=refused.problem))
            self._forget()
            self.wire.write(self._exchange.refuse(refused))
            self.wire.finish()
            return
        self._forget()
        answer, early = self._exchange.upgrade(upgrade.headers)
        self.wire.write(answer)
        self._server.start(self.wire, ticket, upgrade)
        if early:
            self.wire.user.received(early)

    def slow(self) -> None:
        pass

    def quick(self) -> None:
        pass

    def broken(self) -> None:
        pass

    def gone(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._timer.cancel()
        if self._counted:
            self._counted = False
            self._server.count_stranger(-1)


def tls_context(settings: StreamingSettings) -> ssl.SSLContext | None:
    """Raises FailedPrecondition."""
    if not settings.tls_certificate.name:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key if settings.tls_key.name else None)
    except OSError as error:  # ssl.SSLError is one
        raise FailedPrecondition(
            f"cannot use the streaming certificate {settings.tls_certificate} with the key {settings.tls_key}: "
            f"{error.strerror or error}"
        ) from error
    return context


def _subject(ticket: Ticket) -> dict[str, str]:
    if isinstance(ticket, PortForwardTicket):
        return {"sandbox": ticket.sandbox_id}
    return {"container": ticket.container_id}
