"""How bytes travel between a client's connection and a process, and how either end says that it is too fast.

    Wire ── Link ──► session (LinkUser) ── Channel ──► Receiver (a sink, a resize reader)
                         ▲                    ▲
                         └── slow, quick ── Sources ── the pumps that read descriptors

Everything here runs on the event loop; no part copies bytes to another that could be handed on at once.
"""

from __future__ import annotations

from typing import Final, Protocol

#: Bytes that a channel keeps for a receiver that is not there yet.
_EARLY_BYTES: Final = 64 << 10


class Link(Protocol):
    """The way to the client."""

    def write(self, data: bytes) -> None: ...

    def pause(self, owner: object) -> None:
        """Read nothing from the client until every owner that paused has resumed."""

    def resume(self, owner: object) -> None: ...

    def finish(self) -> None:
        """What is written goes out; then the connection ends."""


class LinkUser(Protocol):
    """The session that speaks over a link. `received` may raise ProtocolError: the link calls `broken` and ends."""

    def received(self, data: bytes) -> None: ...

    def slow(self) -> None:
        """The client does not take what is written: write little until `quick`."""

    def quick(self) -> None: ...

    def broken(self) -> None:
        """The client broke the protocol: last chance to write."""

    def gone(self) -> None:
        """The connection is no more; nothing is called after this."""


class Receiver(Protocol):
    """Takes what the client sends on one channel."""

    def data(self, data: bytes) -> None: ...

    def end(self) -> None:
        """The client sends no more on this channel. Called once."""

    def reset(self) -> None:
        """The client has no interest in this channel any more, in neither direction; may come after `end`."""


class Unread:
    """A receiver for what a client sends where nobody listens."""

    def data(self, data: bytes) -> None:
        pass

    def end(self) -> None:
        pass

    def reset(self) -> None:
        pass


class Source(Protocol):
    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Sources:
    """What writes to one client: paused all together while the client is slow."""

    def __init__(self) -> None:
        self._sources: set[Source] = set()
        self._paused = False

    def add(self, source: Source) -> None:
        self._sources.add(source)
        if self._paused:
            source.pause()

    def discard(self, source: Source) -> None:
        self._sources.discard(source)

    def pause(self) -> None:
        self._paused = True
        for source in tuple(self._sources):
            source.pause()

    def resume(self) -> None:
        self._paused = False
        for source in tuple(self._sources):
            source.resume()


class Channel(Protocol):
    """One stream of the client's, both ways."""

    @property
    def sources(self) -> Sources: ...

    def receive_with(self, receiver: Receiver) -> None:
        """What came before goes to `receiver` at once."""

    def write(self, data: bytes) -> None: ...

    def finish(self) -> None:
        """We send no more on this channel; the other direction stays open."""

    def pause(self) -> None:
        """Take no more from the client for now. Other channels of the connection wait as well: they share its order."""

    def resume(self) -> None: ...


class Inbox:
    """Where a channel puts what it receives: with its receiver, or aside until there is one."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._receiver: Receiver | None = None
        self._early = bytearray()
        self._ended = False
        self._reset = False

    def receive_with(self, receiver: Receiver) -> None:
        self._receiver = receiver
        early, self._early = self._early, bytearray()
        if early:
            self._channel.resume()
            receiver.data(bytes(early))
        if self._ended:
            receiver.end()
        if self._reset:
            receiver.reset()

    def data(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.data(data)
            return
        self._early += data
        if len(self._early) > _EARLY_BYTES:
            self._channel.pause()

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            if self._receiver is not None:
                self._receiver.end()

    def reset(self) -> None:
        self._reset = True
        if self._receiver is not None:
            self._receiver.reset()
