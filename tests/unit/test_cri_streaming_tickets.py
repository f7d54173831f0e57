from __future__ import annotations

import itertools

import pytest

from cri.errors import ResourceExhausted
from cri.streaming.tickets import LIFETIME_S, MAX_PENDING, PortForwardTicket, Tickets

TICKET = PortForwardTicket(sandbox_id="pod")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_good_once() -> None:
    tickets = Tickets(Clock())
    token = tickets.add(TICKET)
    assert tickets.take("portforward", token) is TICKET
    assert tickets.take("portforward", token) is None


def test_a_token_is_good_for_its_kind_only() -> None:
    tickets = Tickets(Clock())
    token = tickets.add(TICKET)
    assert tickets.take("exec", token) is None
    assert tickets.take("portforward", token) is TICKET


def test_a_token_expires() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    token = tickets.add(TICKET)
    clock.now += LIFETIME_S
    assert tickets.take("portforward", token) is None


def test_pending_tokens_are_limited_and_expired_ones_make_room() -> None:
    clock, numbers = Clock(), itertools.count()
    tickets = Tickets(clock, lambda: str(next(numbers)))
    for _ in range(MAX_PENDING):
        tickets.add(TICKET)
    with pytest.raises(ResourceExhausted, match="1000"):
        tickets.add(TICKET)
    clock.now += LIFETIME_S
    assert tickets.take("portforward", tickets.add(TICKET)) is TICKET


def test_tokens_cannot_be_guessed() -> None:
    tickets = Tickets(Clock())
    tokens = {tickets.add(TICKET) for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) >= 32 for token in tokens)
