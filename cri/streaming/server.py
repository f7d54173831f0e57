"""Listens for streaming clients and knows who may come.

connection → request (stranger) → ticket → upgrade (handshake) → session and its work (jobs) → the last word
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from cri.config.schema import StreamingSettings
from cri.errors import FailedPrecondition
from cri.streaming.errors import Refused
from cri.streaming.flow import LinkUser
from cri.streaming.handshake import Upgrade, negotiate, split_path
from cri.streaming.http import Request
from cri.streaming.jobs import Jobs
from cri.streaming.runtime import Runtime
from cri.streaming.stranger import REQUEST_TIMEOUT_S, Stranger
from cri.streaming.tickets import Ticket, Tickets
from cri.streaming.tls import tls_context
from cri.streaming.wire import Wire

_BACKLOG: Final = 512
#: Addresses to listen on that are none to connect to.
_UNSPECIFIED: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


class StreamingServer:
    """Built by `open`. `url` makes a way in for one client; `close` drops all of them."""

    def __init__(self, settings: StreamingSettings, runtime: Runtime) -> None:
        self.strangers = 0
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._tickets = Tickets(self._loop.time)
        self._jobs = Jobs(runtime)
        self._wires: set[Wire] = set()
        self._server: asyncio.Server | None = None
        self._origin = ""

    @classmethod
    async def open(cls, settings: StreamingSettings, runtime: Runtime) -> StreamingServer:
        """Raises FailedPrecondition when the address cannot be had or the certificate cannot be used."""
        server = cls(settings, runtime)
        tls = tls_context(settings)
        try:
            listening = await server._loop.create_server(
                lambda: Stranger(server).wire,
                settings.address,
                settings.port,
                ssl=tls,
                ssl_handshake_timeout=REQUEST_TIMEOUT_S if tls else None,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise FailedPrecondition(
                f"cannot listen for streams at {settings.address}:{settings.port}: {error.strerror or error}"
            ) from error
        host = _UNSPECIFIED.get(settings.address, settings.address)
        port = listening.sockets[0].getsockname()[1]
        server._server = listening
        server._origin = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        return server

    def url(self, ticket: Ticket) -> str:
        """For the client to open within a minute. Raises ResourceExhausted."""
        return f"{self._origin}/{ticket.kind}/{self._tickets.add(ticket)}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._jobs.close()
        for wire in tuple(self._wires):
            wire.abort()

    # --- stranger.Gate

    def new_wire(self, user: LinkUser) -> Wire:
        wire = Wire(user, idle_timeout=self._settings.idle_timeout, on_closed=self._wires.discard)
        self._wires.add(wire)
        return wire

    def admit(self, request: Request) -> tuple[Ticket, Upgrade]:
        """The token is used up even if the upgrade is refused then."""
        kind, token = split_path(request)
        ticket = self._tickets.take(kind, token)
        if ticket is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no such token: it has been used, has expired, or never was")
        return ticket, negotiate(request, ticket)

    def start(self, wire: Wire, ticket: Ticket, upgrade: Upgrade) -> None:
        self._jobs.start(wire, ticket, upgrade)
