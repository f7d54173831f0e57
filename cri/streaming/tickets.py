"""What a client that comes with a token may do, and the tokens: single use, short-lived, few. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import ClassVar, Final, TypeAlias

from cri.errors import ResourceExhausted
from oci.values import frozen

LIFETIME_S: Final = 60.0
MAX_PENDING: Final = 1000


@frozen
class ExecTicket:
    """`kind` is also the first part of the URL's path."""

    kind: ClassVar[str] = "exec"
    container_id: str
    args: tuple[str, ...]
    tty: bool
    stdin: bool
    stdout: bool
    stderr: bool


@frozen
class AttachTicket:
    kind: ClassVar[str] = "attach"
    container_id: str
    tty: bool
    stdin: bool
    stdout: bool
    stderr: bool


@frozen
class PortForwardTicket:
    """`ports` are those that the caller announced, for old WebSocket clients; SPDY streams name theirs themselves."""

    kind: ClassVar[str] = "portforward"
    sandbox_id: str
    ports: tuple[int, ...] = ()


Ticket: TypeAlias = ExecTicket | AttachTicket | PortForwardTicket


class Tickets:
    """Pending tickets by token. `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float], new_token: Callable[[], str] = lambda: secrets.token_urlsafe(24)):
        self._clock = clock
        self._new_token = new_token
        self._pending: dict[str, tuple[float, Ticket]] = {}  # oldest first: they all live equally long

    def add(self, ticket: Ticket) -> str:
        """The token. Raises ResourceExhausted."""
        self._drop_expired()
        if len(self._pending) >= MAX_PENDING:
            raise ResourceExhausted(
                f"{MAX_PENDING} streams were asked for in the last {LIFETIME_S:g} s and have no client yet"
            )
        token = self._new_token()
        self._pending[token] = self._clock() + LIFETIME_S, ticket
        return token

    def take(self, kind: str, token: str) -> Ticket | None:
        """The ticket, once. One of another kind is left alone."""
        self._drop_expired()
        _, ticket = self._pending.get(token, (0.0, None))
        if ticket is None or ticket.kind != kind:
            return None
        del self._pending[token]
        return ticket

    def _drop_expired(self) -> None:
        now = self._clock()
        while self._pending:
            token, (expires, _) = next(iter(self._pending.items()))
            if expires > now:
                return
            del self._pending[token]
