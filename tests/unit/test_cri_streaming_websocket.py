"""WebSocket channels and the tunnel, between our client end and our server end; wsproto's frames are taken as right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.streaming.errors import ProtocolError
from cri.streaming.websocket import (
    MAX_BASE64_MESSAGE,
    NORMAL_CLOSURE,
    ChannelData,
    ChannelEvent,
    ChannelFinished,
    Channels,
    Closed,
    Tunnel,
    accept_key,
)


class Pair:
    def __init__(self, *, base64_text: bool = False, close_signals: bool = True) -> None:
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        self.client = Channels(
            client=True, base64_text=base64_text, close_signals=close_signals, send=self.to_server.append
        )
        self.server = Channels(
            client=False, base64_text=base64_text, close_signals=close_signals, send=self.to_client.append
        )

    def at_server(self) -> list[ChannelEvent]:
        data, self.to_server[:] = b"".join(self.to_server), []
        return list(self.server.receive(data))

    def at_client(self) -> list[ChannelEvent]:
        data, self.to_client[:] = b"".join(self.to_client), []
        return list(self.client.receive(data))


def test_the_key_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_channels_both_ways() -> None:
    pair = Pair()
    pair.client.send(0, b"in")
    assert pair.at_server() == [ChannelData(channel=0, data=b"in")]
    pair.server.send(1, b"out")
    assert pair.at_client() == [ChannelData(channel=1, data=b"out")]


def test_a_channel_is_finished_by_the_close_signal() -> None:
    pair = Pair()
    pair.client.finish(0)
    assert pair.at_server() == [ChannelFinished(channel=0)]


def test_before_version_5_there_is_no_close_signal() -> None:
    pair = Pair(close_signals=False)
    pair.client.finish(0)
    assert pair.to_server == []
    pair.client.send(255, b"\0")
    assert pair.at_server() == [ChannelData(channel=255, data=b"\0")]


def test_base64_messages_are_text() -> None:
    pair = Pair(base64_text=True, close_signals=False)
    pair.server.send(2, b"\xff\0")
    assert b"2/wA=" in pair.to_client[0]
    assert pair.at_client() == [ChannelData(channel=2, data=b"\xff\0")]


@pytest.mark.parametrize("message", ["", "!", "0!!", "0abc"])
def test_what_is_not_base64(message: str) -> None:
    pair = Pair(base64_text=True, close_signals=False)
    pair.client._messages.send(message)
    with pytest.raises(ProtocolError):
        pair.at_server()


def test_collected_messages_are_bounded() -> None:
    pair = Pair(base64_text=True, close_signals=False)
    pair.client.send(0, bytes(MAX_BASE64_MESSAGE))
    with pytest.raises(ProtocolError, match="more than"):
        pair.at_server()


def test_closing() -> None:
    pair = Pair()
    pair.client.close()
    assert pair.at_server() == [Closed(code=NORMAL_CLOSURE)]
    assert pair.at_client() == [Closed(code=NORMAL_CLOSURE)]
    pair.server.send(1, b"late")
    assert pair.to_client == []


def test_a_message_without_a_channel() -> None:
    pair = Pair()
    pair.client._messages.send(b"")
    with pytest.raises(ProtocolError, match="channel number"):
        pair.at_server()


def test_unmasked_frames_of_a_client_are_an_error() -> None:
    with pytest.raises(ProtocolError, match="unmasked"):
        list(Pair().server.receive(b"\x82\x01\x00"))


messages = st.lists(st.tuples(st.integers(0, 4), st.binary(min_size=1, max_size=300)), max_size=6)


@given(messages, st.integers(1, 50), st.booleans())
def test_messages_survive_any_pieces(messages: list[tuple[int, bytes]], size: int, base64_text: bool) -> None:
    pair = Pair(base64_text=base64_text, close_signals=False)
    for channel, data in messages:
        pair.client.send(channel, data)
    wire = b"".join(pair.to_server)
    received: list[ChannelData] = []
    for start in range(0, len(wire), size):
        for event in pair.server.receive(wire[start : start + size]):
            assert isinstance(event, ChannelData)
            received.append(event)
    for number in range(5):
        sent = b"".join(data for channel, data in messages if channel == number)
        assert b"".join(event.data for event in received if event.channel == number) == sent


@given(st.lists(st.binary(max_size=100), max_size=5), st.booleans())
def test_garbage_raises_nothing_but_protocol_errors(pieces: list[bytes], base64_text: bool) -> None:
    pair = Pair(base64_text=base64_text)
    try:
        for piece in pieces:
            list(pair.server.receive(piece))
    except ProtocolError:
        pass


def test_a_tunnel_is_a_stream_of_bytes() -> None:
    to_server: list[bytes] = []
    client = Tunnel(client=True, send=to_server.append)
    server = Tunnel(client=False, send=lambda data: None)
    client.send(b"one")
    client.send(b"")
    client.send(b"two")
    client.close()
    assert list(server.receive(b"".join(to_server))) == [b"one", b"two", Closed(code=NORMAL_CLOSURE)]
