"""A client until its request is complete: refused, or let in with its ticket. Strangers are few and do not stay."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Final, Protocol

from cri.log_lines import fields
from cri.streaming.errors import Refused
from cri.streaming.flow import LinkUser
from cri.streaming.handshake import Upgrade
from cri.streaming.http import Exchange, Request
from cri.streaming.tickets import Ticket
from cri.streaming.wire import Wire

_log: Final = logging.getLogger("cri.streaming")

#: For a client to send its request.
REQUEST_TIMEOUT_S: Final = 10.0
MAX_STRANGERS: Final = 256


class Gate(Protocol):
    """The server, as a stranger knows it."""

    strangers: int

    def new_wire(self, user: LinkUser) -> Wire: ...

    def admit(self, request: Request) -> tuple[Ticket, Upgrade]:
        """Raises Refused."""

    def start(self, wire: Wire, ticket: Ticket, upgrade: Upgrade) -> None: ...


class Stranger:
    """A `LinkUser`."""

    def __init__(self, gate: Gate) -> None:
        self.wire = gate.new_wire(self)
        self._gate = gate
        self._exchange = Exchange()
        self._one_too_many = gate.strangers >= MAX_STRANGERS
        self._counted = True
        gate.strangers += 1
        self._timer = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT_S, self.wire.abort)

    def received(self, data: bytes) -> None:
        try:
            if self._one_too_many:
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections without a request")
            request = self._exchange.receive(data)
            if request is None:
                return
            ticket, upgrade = self._gate.admit(request)
        except Refused as refused:
            _log.info("stream refused", extra=fields(status=int(refused.status), error=refused.problem))
            self._forget()
            self.wire.write(self._exchange.refuse(refused))
            self.wire.finish()
            return
        self._forget()
        answer, early = self._exchange.upgrade(upgrade.headers)
        self.wire.write(answer)
        self._gate.start(self.wire, ticket, upgrade)
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
            self._gate.strangers -= 1
