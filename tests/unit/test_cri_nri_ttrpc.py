"""ttrpc framing: calls and answers through any cutting; what is too long or not unary fails the call alone."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.nri import ttrpc
from cri.nri.api import ttrpc_pb2 as wire
from cri.nri.errors import ProtocolError
from cri.nri.ttrpc import Answerer, Caller, MessageTooLong, Request, Response


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def frame(stream: int, kind: int, data: bytes, flags: int = 0) -> bytes:
    return struct.pack(">IIBB", len(data), stream, kind, flags) + data


def refusal(data: bytes) -> tuple[int, int]:
    """The stream and the code of one answer."""
    _, stream, kind, _ = struct.unpack_from(">IIBB", data)
    assert kind == 2
    return stream, wire.Response.FromString(data[10:]).status.code


@given(st.lists(st.tuples(st.text(), st.text(), st.binary(max_size=300)), max_size=6), st.integers(1, 64))
def test_calls_and_answers_survive_any_cutting(calls: list[tuple[str, str, bytes]], size: int) -> None:
    caller, answerer = Caller(), Answerer()
    sent, expected = b"", []
    for service, method, payload in calls:
        stream, data = caller.call(service, method, payload, timeout_ns=7)
        sent += data
        expected.append(Request(stream=stream, service=service, method=method, payload=payload, timeout_ns=7))
    received: list[Request] = []
    for piece in pieces(sent, size):
        requests, refusals = answerer.receive(piece)
        assert refusals == b""
        received += requests
    assert received == expected
    answers = b"".join(answerer.answer(Response(stream=r.stream, payload=r.payload)) for r in reversed(received))
    responses = [response for piece in pieces(answers, size) for response in caller.receive(piece)]
    assert responses == [Response(stream=r.stream, payload=r.payload) for r in reversed(expected)]


def test_streams_are_odd_and_increase() -> None:
    caller = Caller()
    assert [caller.call("s", "m", b"")[0] for _ in range(3)] == [1, 3, 5]


def test_an_error_comes_with_its_code_and_text() -> None:
    caller, answerer = Caller(), Answerer()
    stream, _ = caller.call("s", "m", b"")
    data = answerer.answer(Response(stream=stream, code=ttrpc.UNIMPLEMENTED, text="no such method"))
    assert caller.receive(data) == [Response(stream=1, code=ttrpc.UNIMPLEMENTED, text="no such method")]


def test_an_answer_that_nobody_waits_for_is_ignored() -> None:
    caller, answerer = Caller(), Answerer()
    stream, _ = caller.call("s", "m", b"")
    caller.forget(stream)
    assert caller.receive(answerer.answer(Response(stream=stream)) + answerer.answer(Response(stream=99))) == []


def test_a_message_too_long_to_send_changes_nothing() -> None:
    caller = Caller()
    with pytest.raises(MessageTooLong) as caught:
        caller.call("s", "m", b"x" * (ttrpc.LONGEST_MESSAGE + 1))
    assert caught.value.length > ttrpc.LONGEST_MESSAGE
    assert caller.call("s", "m", b"")[0] == 1


def test_a_message_too_long_to_receive_is_skipped_and_refused() -> None:
    answerer = Answerer()
    length = ttrpc.LONGEST_MESSAGE + 5
    requests, refusals = answerer.receive(struct.pack(">IIBB", length, 1, 1, 0))
    assert (requests, refusal(refusals)) == ([], (1, ttrpc.RESOURCE_EXHAUSTED))
    _, following = Caller().call("s", "m", b"")
    requests, refusals = answerer.receive(b"\0" * length + following)
    assert [request.method for request in requests] == ["m"]


def test_an_answer_too_long_to_receive_fails_its_call_only() -> None:
    caller = Caller()
    caller.call("s", "m", b"")
    assert caller.receive(struct.pack(">IIBB", ttrpc.LONGEST_MESSAGE + 1, 1, 2, 0)) == [
        Response(stream=1, code=ttrpc.RESOURCE_EXHAUSTED, text="the answer is too long")
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(2, 1, b""), ttrpc.INVALID_ARGUMENT),  # even: the other side's
        (frame(1, 1, b"", flags=2), ttrpc.UNIMPLEMENTED),  # a streaming call
        (frame(1, 3, b""), ttrpc.INVALID_ARGUMENT),  # data of a stream that is not open
        (frame(1, 1, b"\xff\xff"), ttrpc.INVALID_ARGUMENT),  # not a Request
    ],
)
def test_what_is_no_unary_call_is_refused(data: bytes, code: int) -> None:
    requests, refusals = Answerer().receive(data)
    assert requests == []
    assert refusal(refusals)[1] == code


def test_a_stream_number_is_used_once() -> None:
    answerer = Answerer()
    _, data = Caller().call("s", "m", b"")
    assert len(answerer.receive(data)[0]) == 1
    requests, refusals = answerer.receive(data)
    assert (requests, refusal(refusals)) == ([], (1, ttrpc.INVALID_ARGUMENT))


@pytest.mark.parametrize("data", [frame(1, 3, b""), frame(1, 2, b"\xff\xff")])
def test_what_is_no_answer_to_an_open_call_is_a_protocol_error(data: bytes) -> None:
    caller = Caller()
    caller.call("s", "m", b"")
    with pytest.raises(ProtocolError):
        caller.receive(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_requests_or_refusals(data: bytes) -> None:
    Answerer().receive(data)


def test_the_messages_have_ttrpcs_field_numbers() -> None:
    """Byte for byte what is on the wire: the tags of service, method, payload, timeout; of status code and message."""
    request = wire.Request(service="s", method="m", payload=b"p", timeout_nano=1)
    assert request.SerializeToString(deterministic=True) == b"\x0a\x01s\x12\x01m\x1a\x01p\x20\x01"
    response = wire.Response(status=wire.Status(code=2, message="x"), payload=b"p")
    assert response.SerializeToString(deterministic=True) == b"\x0a\x05\x08\x02\x12\x01x\x12\x01p"
