"""The SPDY streams of one client as channels."""

from __future__ import annotations

from collections.abc import Callable

from cri.streaming.flow import Inbox, Link, Receiver, Sources
from cri.streaming.spdy import (
    DataReceived,
    Event,
    GoAwayStatus,
    HeadersReceived,
    ResetStatus,
    SpdyConnection,
    StreamOpened,
    StreamReset,
)


class SpdyChannel:
    """See `flow.Channel`. `headers` are those that the client opened it with."""

    def __init__(self, session: SpdySession, stream_id: int, headers: dict[str, str]) -> None:
        self.stream_id = stream_id
        self.headers = headers
        self.inbox = Inbox(self)
        self._session = session

    @property
    def sources(self) -> Sources:
        return self._session.sources

    def receive_with(self, receiver: Receiver) -> None:
        self.inbox.receive_with(receiver)

    def write(self, data: bytes) -> None:
        self._session.spdy.send_data(self.stream_id, data)

    def finish(self) -> None:
        self._session.spdy.send_data(self.stream_id, b"", fin=True)
        self._session.forget_if_over(self)

    def reset(self) -> None:
        self._session.spdy.reset(self.stream_id)
        self._session.forget_if_over(self)

    def pause(self) -> None:
        self._session.link.pause(self)

    def resume(self) -> None:
        self._session.link.resume(self)


class SpdySession:
    """A `LinkUser`. `on_channel` accepts a new channel by returning True; `on_gone` is called when all is over."""

    def __init__(self, link: Link, *, on_channel: Callable[[SpdyChannel], bool], on_gone: Callable[[], None]) -> None:
        self.link = link
        self.sources = Sources()
        self.spdy = SpdyConnection(client=False, send=link.write)
        self._on_channel = on_channel
        self._on_gone = on_gone
        self._channels: dict[int, SpdyChannel] = {}

    def finish(self) -> None:
        self.spdy.go_away()
        self.link.finish()

    def forget_if_over(self, channel: SpdyChannel) -> None:
        """A client may open and finish streams for days."""
        if not self.spdy.has(channel.stream_id):
            self._channels.pop(channel.stream_id, None)
            self.link.resume(channel)

    # --- LinkUser

    def received(self, data: bytes) -> None:
        for event in self.spdy.receive(data):
            self._handle(event)

    def slow(self) -> None:
        self.sources.pause()

    def quick(self) -> None:
        self.sources.resume()

    def broken(self) -> None:
        self.spdy.go_away(GoAwayStatus.PROTOCOL_ERROR)

    def gone(self) -> None:
        self._channels.clear()
        self._on_gone()

    # ---

    def _handle(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            channel = self._channels.get(event.stream_id)
            if channel is not None:
                if event.data:
                    channel.inbox.data(event.data)
                if event.fin:
                    self._ended(channel)
        elif isinstance(event, StreamOpened):
            self._opened(event)
        elif isinstance(event, HeadersReceived):
            channel = self._channels.get(event.stream_id)
            if channel is not None and event.fin:
                self._ended(channel)
        elif isinstance(event, StreamReset):
            channel = self._channels.get(event.stream_id)
            if channel is not None:
                channel.inbox.end()
                channel.inbox.reset()
                self.forget_if_over(channel)

    def _opened(self, event: StreamOpened) -> None:
        channel = SpdyChannel(self, event.stream_id, dict(event.headers))
        if not self._on_channel(channel):
            self.spdy.reset(event.stream_id, ResetStatus.REFUSED_STREAM)
            return
        self._channels[event.stream_id] = channel
        self.spdy.reply(event.stream_id)
        if event.fin:
            self._ended(channel)

    def _ended(self, channel: SpdyChannel) -> None:
        channel.inbox.end()
        self.forget_if_over(channel)
