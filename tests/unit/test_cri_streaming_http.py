from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.streaming.errors import ProtocolError, Refused
from cri.streaming.http import MAX_HEAD, Exchange

UPGRADE = (
    b"POST /exec/abc HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    b"X-Stream-Protocol-Version: v5.channel.k8s.io\r\nX-Stream-Protocol-Version: v4.channel.k8s.io, x\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def test_a_request_and_its_upgrade() -> None:
    exchange = Exchange()
    assert exchange.receive(UPGRADE[:40]) is None
    request = exchange.receive(UPGRADE[40:] + b"spdy bytes")
    assert request is not None
    assert (request.method, request.target) == ("POST", "/exec/abc")
    assert request.values("x-stream-protocol-version") == ("v5.channel.k8s.io", "v4.channel.k8s.io", "x")
    assert request.has("upgrade", "spdy/3.1")
    answer, rest = exchange.upgrade({"Connection": "Upgrade", "Upgrade": "SPDY/3.1"})
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert rest == b"spdy bytes"


def test_a_refusal_closes() -> None:
    exchange = Exchange()
    assert exchange.receive(UPGRADE) is not None
    answer = exchange.refuse(Refused(HTTPStatus.NOT_FOUND, "no such token", {"X-More": "1"}))
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"X-More: 1\r\n" in answer
    assert answer.endswith(b"\r\n\r\nno such token\n")


def test_heads_are_bounded() -> None:
    exchange = Exchange()
    with pytest.raises(Refused) as caught:
        exchange.receive(b"GET /" + b"x" * (MAX_HEAD + 1))
    assert caught.value.status is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    assert exchange.refuse(caught.value).startswith(b"HTTP/1.1 431 ")


def test_what_is_not_http_is_refused() -> None:
    exchange = Exchange()
    with pytest.raises(Refused):
        exchange.receive(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\r\n\r\n")


def test_bodies_are_bounded() -> None:
    exchange = Exchange()
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"
    with pytest.raises(Refused, match="body"):
        exchange.receive(head + bytes(100_000))


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_garbage_raises_nothing_but_our_errors(pieces: list[bytes]) -> None:
    exchange = Exchange()
    try:
        for piece in pieces:
            if exchange.receive(piece) is not None:
                return
    except Refused as refused:
        exchange.refuse(refused)
    except ProtocolError:
        pass
