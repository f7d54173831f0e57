"""WebSocket as a sans-IO protocol on top of wsproto: bytes in, frozen events out; calls in, bytes out. Pure.

It has two uses here. `Channels`: remote commands, where a message begins with the number of a channel. `Tunnel`: the
messages are the bytes of a SPDY connection.

Messages are passed on piece by piece as they come, so that a peer's large message is never held; only the base64
variants, whose text cannot be decoded piecewise, are collected, up to a limit.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import wsproto.events
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.utilities import LocalProtocolError, generate_accept_token

from cri.streaming.errors import ProtocolError
from oci.values import frozen

#: The channel of version 5 whose messages are numbers of channels that the sender has finished.
CLOSE_CHANNEL: Final = 255
MAX_BASE64_MESSAGE: Final = 1 << 20

#: In base64 messages the channels are "0", "1" and so on, ":" after "9".
_FIRST_DIGIT: Final = ord("0")

NORMAL_CLOSURE: Final = 1000
PROTOCOL_ERROR: Final = 1002


@frozen
class ChannelData:
    channel: int
    data: bytes


@frozen
class ChannelFinished:
    channel: int


@frozen
class Closed:
    """The peer ended the connection properly."""

    code: int


ChannelEvent: TypeAlias = ChannelData | ChannelFinished | Closed


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, section 4.2.2)."""
    return generate_accept_token(key.encode("latin-1")).decode()


@frozen
class _Piece:
    data: bytes
    first: bool
    last: bool


class _Messages:
    """Pieces of messages, whatever they mean; answers pings and the closing handshake."""

    def __init__(self, *, client: bool, send: Callable[[bytes], None]) -> None:
        self._connection = Connection(ConnectionType.CLIENT if client else ConnectionType.SERVER)
        self._send = send
        self._at_start = True

    def receive(self, data: bytes) -> Iterator[_Piece | Closed]:
        if self._connection.state not in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            return  # after the peer's close frame
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, wsproto.events.TextMessage | wsproto.events.BytesMessage):
                yield self._piece(event)
            elif isinstance(event, wsproto.events.Ping):
                self._answer(event.response())
            elif isinstance(event, wsproto.events.CloseConnection):
                yield self._closed(event)
                return

    def send(self, data: bytes | str) -> None:
        message = wsproto.events.TextMessage(data) if isinstance(data, str) else wsproto.events.BytesMessage(data)
        self._answer(message)

    def close(self, code: int) -> None:
        self._answer(wsproto.events.CloseConnection(code=code))

    def _piece(self, event: wsproto.events.TextMessage | wsproto.events.BytesMessage) -> _Piece:
        data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
        piece = _Piece(data=data, first=self._at_start, last=event.message_finished)
        # A first fragment without a byte does not name a channel yet.
        self._at_start = event.message_finished or (self._at_start and not data)
        return piece

    def _closed(self, event: wsproto.events.CloseConnection) -> Closed:
        if self._connection.state not in (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED):
            # wsproto's way to say that the peer's frames cannot be parsed
            raise ProtocolError("websocket", event.reason or "malformed frame")
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            self._answer(event.response())
        return Closed(code=int(event.code))

    def _answer(self, event: wsproto.events.Event) -> None:
        try:
            self._send(bytes(self._connection.send(event)))
        except LocalProtocolError:
            pass  # the connection is closing: nobody reads this any more


class Channels:
    """Numbered channels in one connection. `send` is given the bytes to transmit.

    `base64_text`: messages are text, a digit and base64. `close_signals`: channels can be finished one by one.
    """

    def __init__(self, *, client: bool, base64_text: bool, close_signals: bool, send: Callable[[bytes], None]) -> None:
        self._messages = _Messages(client=client, send=send)
        self._base64 = base64_text
        self._close_signals = close_signals
        self._channel = -1  # of the message under way
        self._text = bytearray()

    def receive(self, data: bytes) -> Iterator[ChannelEvent]:
        """Raises ProtocolError, after which only `close` is of use."""
        for piece in self._messages.receive(data):
            if isinstance(piece, Closed):
                yield piece
            elif self._base64:
                yield from self._collected(piece)
            else:
                yield from self._binary(piece)

    def send(self, channel: int, data: bytes) -> None:
        if self._base64:
            self._messages.send(f"{chr(_FIRST_DIGIT + channel)}{base64.b64encode(data).decode()}")
        else:
            self._messages.send(b"".join((channel.to_bytes(1, "big"), data)))

    def finish(self, channel: int) -> None:
        """Says that nothing more comes on `channel`, where the protocol has words for that."""
        if self._close_signals:
            self._messages.send(bytes((CLOSE_CHANNEL, channel)))

    def close(self, code: int = NORMAL_CLOSURE) -> None:
        self._messages.close(code)

    def _binary(self, piece: _Piece) -> Iterator[ChannelEvent]:
        data = piece.data
        if piece.first:
            if not data:
                if piece.last:
                    raise ProtocolError("websocket", "message without a channel number")
                return
            self._channel, data = data[0], data[1:]
        if self._channel == CLOSE_CHANNEL and self._close_signals:
            for number in data:
                yield ChannelFinished(channel=number)
        elif data:
            yield ChannelData(channel=self._channel, data=data)

    def _collected(self, piece: _Piece) -> Iterator[ChannelEvent]:
        self._text += piece.data
        if len(self._text) > MAX_BASE64_MESSAGE:
            raise ProtocolError("websocket", f"base64 message of more than {MAX_BASE64_MESSAGE} bytes")
        if not piece.last:
            return
        text, self._text = bytes(self._text), bytearray()
        if not text or text[0] < _FIRST_DIGIT:
            raise ProtocolError("websocket", "message without a channel number")
        try:
            data = base64.b64decode(text[1:], validate=True)
        except binascii.Error as error:
            raise ProtocolError("websocket", f"message is not base64: {error}") from None
        if data:
            yield ChannelData(channel=text[0] - _FIRST_DIGIT, data=data)


class Tunnel:
    """A stream of bytes in the binary messages of one connection."""

    def __init__(self, *, client: bool, send: Callable[[bytes], None]) -> None:
        self._messages = _Messages(client=client, send=send)

    def receive(self, data: bytes) -> Iterator[bytes | Closed]:
        for piece in self._messages.receive(data):
            if isinstance(piece, Closed):
                yield piece
            elif piece.data:
                yield piece.data

    def send(self, data: bytes) -> None:
        self._messages.send(data)

    def close(self, code: int = NORMAL_CLOSURE) -> None:
        self._messages.close(code)
