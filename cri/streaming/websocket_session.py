"""The channels of one WebSocket client; and the tunnel, a link for SPDY inside a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cri.streaming.flow import Inbox, Link, LinkUser, Receiver, Sources
from cri.streaming.websocket import (
    PROTOCOL_ERROR,
    ChannelData,
    ChannelFinished,
    Channels,
    Closed,
    Tunnel,
)


class WebSocketChannel:
    """See `flow.Channel`."""

    def __init__(self, session: WebSocketSession, number: int) -> None:
        self.inbox = Inbox(self)
        self._session = session
        self._number = number

    @property
    def sources(self) -> Sources:
        return self._session.sources

    def receive_with(self, receiver: Receiver) -> None:
        self.inbox.receive_with(receiver)

    def write(self, data: bytes) -> None:
        self._session.channels.send(self._number, data)

    def finish(self) -> None:
        """Clients learn of the end by that of the connection: before version 5 there is nothing else."""

    def pause(self) -> None:
        self._session.link.pause(self)

    def resume(self) -> None:
        self._session.link.resume(self)


class WebSocketSession:
    """A `LinkUser` with the channels in `numbers`; what comes on others is ignored."""

    def __init__(
        self,
        link: Link,
        numbers: Iterable[int],
        *,
        base64_text: bool,
        close_signals: bool,
        on_gone: Callable[[], None],
    ) -> None:
        self.link = link
        self.sources = Sources()
        self.channels = Channels(client=False, base64_text=base64_text, close_signals=close_signals, send=link.write)
        self.by_number = {number: WebSocketChannel(self, number) for number in numbers}
        self._on_gone = on_gone

    def finish(self) -> None:
        self.channels.close()
        self.link.finish()

    # --- LinkUser

    def received(self, data: bytes) -> None:
        for event in self.channels.receive(data):
            if isinstance(event, Closed):
                self.link.finish()
                self._on_gone()
                return
            channel = self.by_number.get(event.channel)
            if channel is None:
                continue
            if isinstance(event, ChannelData):
                channel.inbox.data(event.data)
            elif isinstance(event, ChannelFinished):
                channel.inbox.end()

    def slow(self) -> None:
        self.sources.pause()

    def quick(self) -> None:
        self.sources.resume()

    def broken(self) -> None:
        self.channels.close(PROTOCOL_ERROR)

    def gone(self) -> None:
        self._on_gone()


class TunnelLink:
    """A `Link` for the session inside and the `LinkUser` of the link outside."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._tunnel = Tunnel(client=False, send=link.write)
        self.user: LinkUser | None = None

    # --- Link

    def write(self, data: bytes) -> None:
        self._tunnel.send(data)

    def pause(self, owner: object) -> None:
        self._link.pause(owner)

    def resume(self, owner: object) -> None:
        self._link.resume(owner)

    def finish(self) -> None:
        self._tunnel.close()
        self._link.finish()

    # --- LinkUser

    def received(self, data: bytes) -> None:
        assert self.user is not None
        for piece in self._tunnel.receive(data):
            if isinstance(piece, Closed):
                self._link.finish()
                self.user.gone()
                return
            self.user.received(piece)

    def slow(self) -> None:
        if self.user is not None:
            self.user.slow()

    def quick(self) -> None:
        if self.user is not None:
            self.user.quick()

    def broken(self) -> None:
        if self.user is not None:
            self.user.broken()
        self._tunnel.close(PROTOCOL_ERROR)

    def gone(self) -> None:
        if self.user is not None:
            self.user.gone()
