from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.streaming.errors import ProtocolError
from cri.streaming.remote_command import (
    SPDY_PROTOCOLS,
    WEBSOCKET_PROTOCOLS,
    CommandProtocol,
    ResizeReader,
    TerminalSize,
    choose,
    exit_status,
    failure_status,
)

V4 = CommandProtocol(name="v4.channel.k8s.io", version=4)
V1 = CommandProtocol(name="channel.k8s.io", version=1)


def chosen(*offered: str, websocket: bool = False) -> str | None:
    protocol = choose(offered, WEBSOCKET_PROTOCOLS if websocket else SPDY_PROTOCOLS)
    return None if protocol is None else protocol.name


def test_the_clients_order_decides() -> None:
    assert chosen("v5.channel.k8s.io", "v4.channel.k8s.io") == "v5.channel.k8s.io"
    assert chosen("v9.channel.k8s.io", "v2.channel.k8s.io") == "v2.channel.k8s.io"
    assert chosen("v4.base64.channel.k8s.io", websocket=True) == "v4.base64.channel.k8s.io"


def test_without_an_offer_it_is_the_oldest_protocol() -> None:
    assert chosen() == chosen(websocket=True) == ""


def test_nothing_in_common() -> None:
    assert chosen("v9.channel.k8s.io") is None
    assert chosen("v3.channel.k8s.io", websocket=True) is None


def test_statuses_as_clients_read_them() -> None:
    assert json.loads(exit_status(V4, 0)) == {"metadata": {}, "status": "Success"}
    failed = json.loads(exit_status(V4, 3))
    assert failed["reason"] == "NonZeroExitCode"
    assert failed["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    problem = json.loads(failure_status(V4, "no such file"))
    assert (problem["status"], problem["code"], problem["reason"]) == ("Failure", 500, "InternalError")
    assert "no such file" in problem["message"]


def test_old_protocols_get_text() -> None:
    assert exit_status(V1, 0) == b""
    assert b"exit code: 3" in exit_status(V1, 3)
    assert failure_status(V1, "gone") == b"gone"


sizes = st.builds(TerminalSize, width=st.integers(0, 65535), height=st.integers(0, 65535))


@given(st.lists(sizes, min_size=1, max_size=4), st.integers(1, 30), st.sampled_from(["", "\n", " \n"]))
def test_sizes_in_any_pieces(wanted: list[TerminalSize], piece: int, separator: str) -> None:
    text = "".join(f'{{"Width":{size.width},"Height":{size.height}}}{separator}' for size in wanted).encode()
    reader, seen = ResizeReader(), []
    for start in range(0, len(text), piece):
        size = reader.feed(text[start : start + piece])
        if size:
            seen.append(size)
    assert seen[-1] == wanted[-1]


@pytest.mark.parametrize(
    "text", [b"7", b"[]", b"{}", b'{"Width":-1,"Height":1}', b'{"Width":true,"Height":1}', b"{" * 5000]
)
def test_what_is_no_size(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        ResizeReader().feed(text)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_garbage_raises_nothing_but_protocol_errors(pieces: list[bytes]) -> None:
    reader = ResizeReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except ProtocolError:
        pass
