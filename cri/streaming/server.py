"""Listens for streaming clients and knows who may come.

connection → request (stranger) → ticket → upgrade (handshake) → session and its work (jobs) → the last word

The protocols are loaded when the first client is announced: many nodes never see one, and HTTP, WebSocket and SPDY take
four megabytes.
"""

from __future__ import annotations

import asyncio
import importlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from cri.config.schema import StreamingSettings
from cri.errors import FailedPrecondition
from cri.streaming.errors import Refused
from cri.streaming.tickets import Ticket, Tickets

if TYPE_CHECKING:
    from cri.streaming.flow import LinkUser
    from cri.streaming.handshake import Upgrade
    from cri.streaming.http import Request
    from cri.streaming.jobs import Jobs
    from cri.streaming.runtime import Runtime
    from cri.streaming.wire import Wire

_PROTOCOLS: Final = ("cri.streaming.stranger", "cri.streaming.jobs")
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
        self._runtime = runtime
        self._jobs: Jobs | None = None
        self._loading: asyncio.Future[None] | None = None
        self._wires: set[Wire] = set()
        self._server: asyncio.Server | None = None
        self._origin = ""

    @classmethod
    async def open(cls, settings: StreamingSettings, runtime: Runtime) -> StreamingServer:
        """Raises FailedPrecondition when the address cannot be had or the certificate cannot be used."""
        server = cls(settings, runtime)
        secured: dict[str, Any] = {}
        if settings.tls_certificate.name:
            from cri.streaming.stranger import REQUEST_TIMEOUT_S
            from cri.streaming.tls import tls_context

            secured = {"ssl": tls_context(settings), "ssl_handshake_timeout": REQUEST_TIMEOUT_S}
        try:
            listening = await server._loop.create_server(
                server._greet, settings.address, settings.port, backlog=_BACKLOG, **secured
            )
        except OSError as error:
            raise FailedPrecondition(
                f"cannot listen for streams at {settings.address}:{settings.port}: {error.strerror or error}"
            ) from error
        host = _UNSPECIFIED.get(settings.address, settings.address)
        port = listening.sockets[0].getsockname()[1]
        server._server = listening
        server._origin = f"{'https' if secured else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        return server

    def url(self, ticket: Ticket) -> str:
        """For the client to open within a minute. Raises ResourceExhausted."""
        url = f"{self._origin}/{ticket.kind}/{self._tickets.add(ticket)}"
        if self._loading is None:  # in a thread, while the client is on its way
            self._loading = self._loop.run_in_executor(None, _load)
        return url

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._jobs is not None:
            await self._jobs.close()
        for wire in tuple(self._wires):
            wire.abort()

    def _greet(self) -> Wire:
        from cri.streaming.stranger import Stranger

        return Stranger(self).wire

    # --- stranger.Gate

    def new_wire(self, user: LinkUser) -> Wire:
        from cri.streaming.wire import Wire

        wire = Wire(user, idle_timeout=self._settings.idle_timeout, on_closed=self._wires.discard)
        self._wires.add(wire)
        return wire

    def admit(self, request: Request) -> tuple[Ticket, Upgrade]:
        """The token is used up even if the upgrade is refused then."""
        from cri.streaming.handshake import negotiate, split_path

        kind, token = split_path(request)
        ticket = self._tickets.take(kind, token)
        if ticket is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no such token: it has been used, has expired, or never was")
        return ticket, negotiate(request, ticket)

    def start(self, wire: Wire, ticket: Ticket, upgrade: Upgrade) -> None:
        if self._jobs is None:
            from cri.streaming.jobs import Jobs

            self._jobs = Jobs(self._runtime)
        self._jobs.start(wire, ticket, upgrade)


def _load() -> None:
    for name in _PROTOCOLS:
        importlib.import_module(name)
