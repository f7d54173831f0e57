"""SPDY framing, header compression and stream states. The wire bytes are held to facts that are not ours."""

from __future__ import annotations

import itertools
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.streaming.errors import ProtocolError
from cri.streaming.spdy import (
    MAX_STREAMS,
    DataReceived,
    Event,
    FrameReader,
    FrameWriter,
    GoAwayReceived,
    GoAwayStatus,
    HeadersReceived,
    PingReceived,
    ResetStatus,
    SettingsReceived,
    SpdyConnection,
    StreamOpened,
    StreamReplied,
    StreamReset,
    WindowUpdated,
)
from cri.streaming.spdy.dictionary import ADLER32, DICTIONARY
from cri.streaming.spdy.headers import MAX_BLOCK

ids = st.integers(1, 2**31 - 1)
text = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=20)
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
headers = st.dictionaries(names, st.lists(text, min_size=1, max_size=3), max_size=5).map(
    lambda values: tuple((name, value) for name, several in values.items() for value in several)
)
words = st.integers(0, 2**32 - 1)

frames = st.one_of(
    st.builds(
        StreamOpened,
        stream_id=ids,
        headers=headers,
        fin=st.booleans(),
        unidirectional=st.booleans(),
        priority=st.integers(0, 7),
    ),
    st.builds(StreamReplied, stream_id=ids, headers=headers, fin=st.booleans()),
    st.builds(HeadersReceived, stream_id=ids, headers=headers, fin=st.booleans()),
    st.builds(DataReceived, stream_id=ids, data=st.binary(max_size=300), fin=st.booleans()),
    st.builds(StreamReset, stream_id=ids, status=st.sampled_from(ResetStatus)),
    st.builds(PingReceived, ping_id=words),
    st.builds(GoAwayReceived, last_stream_id=ids, status=st.sampled_from(GoAwayStatus)),
    st.builds(WindowUpdated, stream_id=ids, delta=st.integers(1, 2**31 - 1)),
    st.builds(
        SettingsReceived,
        settings=st.lists(st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 255), words), max_size=4).map(tuple),
    ),
)


def encode(writer: FrameWriter, event: Event) -> bytes:
    match event:
        case StreamOpened():
            return writer.syn_stream(
                event.stream_id,
                event.headers,
                fin=event.fin,
                unidirectional=event.unidirectional,
                priority=event.priority,
            )
        case StreamReplied():
            return writer.syn_reply(event.stream_id, event.headers, fin=event.fin)
        case HeadersReceived():
            return writer.headers(event.stream_id, event.headers, fin=event.fin)
        case DataReceived():
            return writer.data(event.stream_id, event.data, fin=event.fin)
        case StreamReset():
            return writer.rst_stream(event.stream_id, ResetStatus(event.status))
        case PingReceived():
            return writer.ping(event.ping_id)
        case GoAwayReceived():
            return writer.goaway(event.last_stream_id, GoAwayStatus(event.status))
        case SettingsReceived():
            return writer.settings(event.settings)
        case WindowUpdated():
            return writer.window_update(event.stream_id, event.delta)


def joined(events: list[Event]) -> list[Event]:
    """Pieces of one data frame as one event again: how they were cut is the network's business."""
    whole: list[Event] = []
    for event in events:
        last = whole[-1] if whole else None
        if (
            isinstance(event, DataReceived)
            and isinstance(last, DataReceived)
            and last.stream_id == event.stream_id
            and not last.fin
        ):
            whole[-1] = DataReceived(stream_id=event.stream_id, data=last.data + event.data, fin=event.fin)
        else:
            whole.append(event)
    return whole


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def test_the_dictionary_is_the_specifications() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == ADLER32


def test_our_zlib_stream_names_the_dictionary() -> None:
    frame = FrameWriter().syn_stream(1, (("a", "b"),))
    block = frame[18:]
    assert int.from_bytes(block[:2], "big") % 31 == 0
    assert block[1] & 0x20, "FDICT"
    assert struct.unpack(">I", block[2:6])[0] == ADLER32


def test_the_bytes_of_frames_without_headers() -> None:
    writer = FrameWriter()
    assert writer.data(5, b"hi", fin=True) == bytes.fromhex("00000005 01000002 6869")
    assert writer.ping(7) == bytes.fromhex("80030006 00000004 00000007")
    assert writer.rst_stream(3, ResetStatus.CANCEL) == bytes.fromhex("80030003 00000008 00000003 00000005")
    assert writer.goaway(9) == bytes.fromhex("80030007 00000008 00000009 00000000")
    assert writer.window_update(1, 2) == bytes.fromhex("80030009 00000008 00000001 00000002")
    assert writer.settings(((4, 1, 100),)) == bytes.fromhex("80030004 0000000c 00000001 01000004 00000064")


def test_a_block_from_another_implementation() -> None:
    """zlib level 9 and the largest window, as the peers send it; two values of one header are joined by a zero byte."""
    compress = zlib.compressobj(9, zdict=DICTIONARY)
    block = b"\0\0\0\1" + b"\0\0\0\4host" + b"\0\0\0\3a\0b"
    payload = b"\0\0\0\1" + b"\0\0\0\0" + b"\0\0" + compress.compress(block) + compress.flush(zlib.Z_SYNC_FLUSH)
    frame = b"\x80\x03\x00\x01" + len(payload).to_bytes(4, "big") + payload
    assert FrameReader().feed(frame) == [StreamOpened(stream_id=1, headers=(("host", "a"), ("host", "b")))]


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 10_000), max_size=12))
def test_frames_survive_the_wire_in_any_pieces(events: list[Event], places: list[int]) -> None:
    writer, reader = FrameWriter(), FrameReader()
    data = b"".join(encode(writer, event) for event in events)
    received: list[Event] = []
    for piece in cut(data, places):
        received += reader.feed(piece)
    assert joined(received) == joined(events)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_raises_nothing_but_protocol_errors(pieces: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except ProtocolError:
        pass


@given(st.lists(frames, min_size=1, max_size=4), st.integers(0, 10_000), st.integers(0, 255))
def test_a_flipped_byte_raises_nothing_but_protocol_errors(events: list[Event], place: int, value: int) -> None:
    writer = FrameWriter()
    data = bytearray(b"".join(encode(writer, event) for event in events))
    data[place % len(data)] = value
    sent: list[bytes] = []
    try:
        list(SpdyConnection(client=False, send=sent.append).receive(bytes(data)))
    except ProtocolError:
        pass


def test_header_blocks_are_bounded_after_decompression() -> None:
    compress = zlib.compressobj(9, zdict=DICTIONARY)
    block = b"\0\0\0\1" + b"\0\0\0\1a" + (MAX_BLOCK).to_bytes(4, "big") + bytes(MAX_BLOCK)
    payload = b"\0\0\0\1" + b"\0\0\0\0" + b"\0\0" + compress.compress(block) + compress.flush(zlib.Z_SYNC_FLUSH)
    assert len(payload) < 1000
    with pytest.raises(ProtocolError, match="larger than"):
        FrameReader().feed(b"\x80\x03\x00\x01" + len(payload).to_bytes(4, "big") + payload)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ("80020006 00000004 00000001", "version 2"),
        ("80030006 00ffffff", "control frame of 16777215 bytes"),
        ("80030001 00000004 00000001", "too short"),
        ("80030004 00000004 00000001", "does not hold 1 settings"),
        ("00000000 00000000", "stream 0"),
        ("80030003 00000008 00000000 00000001", "stream 0"),
        ("80030008 00000008 00000001 ffffffff", "cannot be decompressed"),
    ],
)
def test_malformed_frames(frame: str, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        FrameReader().feed(bytes.fromhex(frame))


def test_unknown_control_frames_are_skipped() -> None:
    assert FrameReader().feed(bytes.fromhex("8003000a 00000002 abcd 80030006 00000004 00000002")) == [
        PingReceived(ping_id=2)
    ]


class Pair:
    """A client and a server, each of which hears at once what the other sends."""

    def __init__(self) -> None:
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        self.client = SpdyConnection(client=True, send=self.to_server.append)
        self.server = SpdyConnection(client=False, send=self.to_client.append)

    def at_server(self) -> list[Event]:
        data, self.to_server[:] = b"".join(self.to_server), []
        return list(self.server.receive(data))

    def at_client(self) -> list[Event]:
        data, self.to_client[:] = b"".join(self.to_client), []
        return list(self.client.receive(data))


def test_a_stream_from_its_opening_to_its_end() -> None:
    pair = Pair()
    stream = pair.client.open((("streamtype", "stdin"),))
    assert pair.at_server() == [StreamOpened(stream_id=stream, headers=(("streamtype", "stdin"),))]
    pair.server.reply(stream)
    assert pair.at_client() == [StreamReplied(stream_id=stream, headers=())]
    pair.client.send_data(stream, b"in", fin=True)
    assert pair.at_server() == [DataReceived(stream_id=stream, data=b"in", fin=True)]
    pair.server.send_data(stream, b"out", fin=True)
    assert pair.at_client() == [DataReceived(stream_id=stream, data=b"out", fin=True)]
    assert pair.server.streams == pair.client.streams == ()


def test_what_comes_after_a_reset_is_ignored() -> None:
    pair = Pair()
    stream = pair.client.open(())
    pair.at_server()
    pair.server.reset(stream)
    pair.client.send_data(stream, b"late")
    assert pair.at_server() == []
    assert pair.at_client() == [StreamReset(stream_id=stream, status=ResetStatus.CANCEL)]
    pair.client.send_data(stream, b"too late")
    assert pair.to_server == []


def test_data_after_the_end_is_an_error() -> None:
    pair = Pair()
    stream = pair.client.open((), fin=True)
    pair.to_server.append(FrameWriter().data(stream, b"more"))
    with pytest.raises(ProtocolError, match="after its end"):
        pair.at_server()


def test_data_for_a_stream_nobody_opened_is_an_error() -> None:
    pair = Pair()
    pair.to_server.append(FrameWriter().data(5, b"x"))
    with pytest.raises(ProtocolError, match="never opened"):
        pair.at_server()


@pytest.mark.parametrize("numbers", [(2,), (3, 1), (1, 1)])
def test_stream_numbers_are_the_peers_and_grow(numbers: tuple[int, ...]) -> None:
    pair, writer = Pair(), FrameWriter()
    pair.to_server += [writer.syn_stream(number, ()) for number in numbers]
    with pytest.raises(ProtocolError, match="peer opened stream"):
        pair.at_server()


def test_surplus_streams_are_refused() -> None:
    pair = Pair()
    for _ in range(MAX_STREAMS):
        pair.client.open(())
    pair.at_server()
    one_more = pair.client.open(())
    assert pair.at_server() == []
    assert pair.at_client() == [StreamReset(stream_id=one_more, status=ResetStatus.REFUSED_STREAM)]


def test_pings_are_answered_and_answers_passed_on() -> None:
    pair = Pair()
    pair.client.ping(1)
    assert pair.at_server() == []
    assert pair.at_client() == [PingReceived(ping_id=1)]


def test_going_away_names_the_last_stream() -> None:
    pair = Pair()
    stream = pair.client.open(())
    pair.at_server()
    pair.server.go_away()
    assert pair.at_client() == [GoAwayReceived(last_stream_id=stream, status=GoAwayStatus.OK)]
