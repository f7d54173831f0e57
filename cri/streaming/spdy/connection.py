"""One end of a SPDY connection: which streams exist, and which way each is still open. Pure.

             opened ──► OPEN ── we finish ──► SENT_ALL
                         │                      │
                    peer finishes          peer finishes
                         ▼                      ▼
                      GOT_ALL ── we finish ──► (forgotten)         a reset, from either side, forgets a stream at once

Frames for a stream that was forgotten are ignored: the peer may have sent them before it heard of the end.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Final

from cri.streaming.errors import ProtocolError
from cri.streaming.spdy.events import (
    DataReceived,
    Event,
    GoAwayStatus,
    HeadersReceived,
    PingReceived,
    ResetStatus,
    StreamOpened,
    StreamReplied,
    StreamReset,
)
from cri.streaming.spdy.frames import MAX_ID, FrameReader, FrameWriter
from cri.streaming.spdy.headers import Headers

#: Streams that a peer may have open at one time; a forwarded connection takes two.
MAX_STREAMS: Final = 1024


class _State(enum.Enum):
    OPEN = "open"
    SENT_ALL = "sent all"
    GOT_ALL = "got all"


class SpdyConnection:
    """`send` is given each frame to transmit, in order. `receive` answers pings and refuses surplus streams itself."""

    def __init__(self, *, client: bool, send: Callable[[bytes], None]) -> None:
        self._parity = 0 if client else 1  # of the ids of the peer's streams
        self._next_id = 1 if client else 2
        self._last_peer_id = 0
        self._reader = FrameReader()
        self._writer = FrameWriter()
        self._send = send
        self._streams: dict[int, _State] = {}

    @property
    def streams(self) -> tuple[int, ...]:
        return tuple(self._streams)

    def has(self, stream_id: int) -> bool:
        """Whether the stream is open in at least one direction."""
        return stream_id in self._streams

    def receive(self, data: bytes) -> Iterator[Event]:
        """What the owner must know of, one by one: the states of streams are those of the event just given.

        Raises ProtocolError, after which only `go_away` is of use.
        """
        for event in self._reader.feed(data):
            if self._concerns_owner(event):
                yield event

    def open(self, headers: Headers, *, fin: bool = False) -> int:
        """The new stream's id."""
        stream_id = self._next_id
        self._next_id += 2
        self._streams[stream_id] = _State.SENT_ALL if fin else _State.OPEN
        self._send(self._writer.syn_stream(stream_id, headers, fin=fin))
        return stream_id

    def reply(self, stream_id: int) -> None:
        self._send(self._writer.syn_reply(stream_id))

    def send_data(self, stream_id: int, data: bytes, *, fin: bool = False) -> None:
        """Nothing is sent on a stream that was reset or finished: its owner hears of the peer's reset later."""
        if self._streams.get(stream_id) not in (_State.OPEN, _State.GOT_ALL):
            return
        self._send(self._writer.data(stream_id, data, fin=fin))
        if fin:
            self._we_finished(stream_id)

    def reset(self, stream_id: int, status: ResetStatus = ResetStatus.CANCEL) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._send(self._writer.rst_stream(stream_id, status))

    def ping(self, ping_id: int) -> None:
        self._send(self._writer.ping(ping_id))

    def go_away(self, status: GoAwayStatus = GoAwayStatus.OK) -> None:
        self._send(self._writer.goaway(self._last_peer_id, status))

    def _concerns_owner(self, event: Event) -> bool:
        if isinstance(event, StreamOpened):
            return self._opened(event)
        if isinstance(event, DataReceived | HeadersReceived | StreamReplied):
            return self._received(event)
        if isinstance(event, StreamReset):
            return self._streams.pop(event.stream_id, None) is not None
        if isinstance(event, PingReceived) and event.ping_id & 1 == self._parity:
            self.ping(event.ping_id)
            return False
        return True

    def _opened(self, event: StreamOpened) -> bool:
        stream_id = event.stream_id
        if stream_id & 1 != self._parity or stream_id <= self._last_peer_id or stream_id > MAX_ID:
            raise ProtocolError("spdy", f"peer opened stream {stream_id} after {self._last_peer_id}")
        self._last_peer_id = stream_id
        if len(self._streams) >= MAX_STREAMS:
            self._send(self._writer.rst_stream(stream_id, ResetStatus.REFUSED_STREAM))
            return False
        state = _State.GOT_ALL if event.fin else _State.OPEN
        self._streams[stream_id] = state
        if event.unidirectional:
            self._we_finished(stream_id)
        return True

    def _received(self, event: DataReceived | HeadersReceived | StreamReplied) -> bool:
        state = self._streams.get(event.stream_id)
        if state is None:
            if event.stream_id > self._newest(event.stream_id):
                raise ProtocolError("spdy", f"frame for stream {event.stream_id}, which was never opened")
            return False
        if state is _State.GOT_ALL:
            raise ProtocolError("spdy", f"frame for stream {event.stream_id} after its end")
        if event.fin:
            self._peer_finished(event.stream_id, state)
        return True

    def _newest(self, stream_id: int) -> int:
        """The highest id ever opened by the side that `stream_id` belongs to."""
        return self._last_peer_id if stream_id & 1 == self._parity else self._next_id - 2

    def _peer_finished(self, stream_id: int, state: _State) -> None:
        if state is _State.SENT_ALL:
            del self._streams[stream_id]
        else:
            self._streams[stream_id] = _State.GOT_ALL

    def _we_finished(self, stream_id: int) -> None:
        if self._streams[stream_id] is _State.GOT_ALL:
            del self._streams[stream_id]
        else:
            self._streams[stream_id] = _State.SENT_ALL
