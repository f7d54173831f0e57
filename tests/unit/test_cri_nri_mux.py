"""NRI's multiplexer: frames survive any cutting, and long messages go as the Go implementation can take them."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.nri.errors import ProtocolError
from cri.nri.mux import LONGEST_PAYLOAD, Frame, Mux, wrap


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(marks)]


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=50)), max_size=8),
    st.lists(st.integers(0, 10**6), max_size=20),
)
def test_frames_come_out_as_they_went_in(messages: list[tuple[int, bytes]], places: list[int]) -> None:
    mux = Mux()
    data = b"".join(wrap(connection, payload) for connection, payload in messages)
    frames = [frame for piece in cut(data, places) for frame in mux.receive(piece)]
    assert frames == [Frame(connection=connection, payload=payload) for connection, payload in messages]


@given(st.integers(1, 20_000))
def test_a_message_goes_in_at_most_two_frames_the_first_no_longer_than_4096(length: int) -> None:
    frames = Mux().receive(wrap(1, b"x" * length))
    assert len(frames) == (1 if length <= 4096 else 2)
    assert len(frames[0].payload) == min(length, 4096)
    assert sum(len(frame.payload) for frame in frames) == length


def test_an_empty_frame_is_a_frame() -> None:
    assert Mux().receive(struct.pack(">II", 2, 0)) == [Frame(connection=2, payload=b"")]


def test_a_frame_longer_than_any_message_ends_the_connection() -> None:
    mux = Mux()
    with pytest.raises(ProtocolError, match="longest allowed"):
        mux.receive(struct.pack(">II", 1, LONGEST_PAYLOAD + 1))


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_a_protocol_error(data: bytes) -> None:
    try:
        Mux().receive(data)
    except ProtocolError:
        pass
