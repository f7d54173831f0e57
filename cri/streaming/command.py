"""The client's streams of one exec or attach, whether SPDY or WebSocket carries them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from cri.streaming.errors import ProtocolError, StreamsMissing
from cri.streaming.flow import Channel, Unread
from cri.streaming.remote_command import (
    ERROR,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    STREAM_NAMES,
    CommandProtocol,
    ResizeReader,
    TerminalSize,
    exit_status,
    failure_status,
)
from cri.streaming.spdy_session import SpdyChannel
from cri.streaming.tickets import AttachTicket, ExecTicket

#: For the client to open all the streams that it announced.
STREAMS_TIMEOUT_S: Final = 30.0


class Session(Protocol):
    def finish(self) -> None: ...


class Terminal(Unread):
    """The client's terminal size, which may come before there is anything to resize. A `flow.Receiver`."""

    def __init__(self) -> None:
        self.size: TerminalSize | None = None
        self._reader = ResizeReader()
        self._apply: Callable[[TerminalSize], None] | None = None

    def apply(self, resize: Callable[[TerminalSize], None]) -> None:
        """Now and whenever the size changes."""
        self._apply = resize
        if self.size is not None:
            resize(self.size)

    def data(self, data: bytes) -> None:
        size = self._reader.feed(data)
        if size is not None:
            self.size = size
            if self._apply is not None:
                self._apply(size)


class CommandClient:
    """`stdin`, `stdout` and `stderr` are None where the request did not ask for them."""

    def __init__(self, protocol: CommandProtocol, session: Session, channels: Mapping[int, Channel]) -> None:
        self.terminal = Terminal()
        self.stdin = channels.get(STDIN)
        self.stdout = channels.get(STDOUT)
        self.stderr = channels.get(STDERR)
        self._protocol = protocol
        self._session = session
        self._channels = channels
        for number in channels.keys() & {STDOUT, STDERR, ERROR}:
            channels[number].receive_with(Unread())
        if RESIZE in channels:
            channels[RESIZE].receive_with(self.terminal)

    def exited(self, code: int) -> None:
        """The last word: the command is over and its output written."""
        self._finish(exit_status(self._protocol, code))

    def failed(self, problem: str) -> None:
        self._finish(failure_status(self._protocol, problem))

    def _finish(self, status: bytes) -> None:
        # Clients read the output to its end before they look at the status.
        for number in (STDOUT, STDERR):
            if number in self._channels:
                self._channels[number].finish()
        error = self._channels[ERROR]
        if status:
            error.write(status)
        error.finish()
        for number in (STDIN, RESIZE):
            if number in self._channels:
                self._channels[number].finish()
        self._session.finish()


def expected(ticket: ExecTicket | AttachTicket, protocol: CommandProtocol) -> frozenset[int]:
    """Numbers of the streams that the client must open."""
    wanted = {
        STDIN: ticket.stdin,
        STDOUT: ticket.stdout,
        STDERR: ticket.stderr,
        ERROR: True,
        RESIZE: ticket.tty and protocol.resizes,
    }
    return frozenset(number for number, is_wanted in wanted.items() if is_wanted)


class SpdyStreams:
    """Collects the streams of a command as the client opens them, in any order."""

    def __init__(self, numbers: frozenset[int]) -> None:
        self.channels: dict[int, SpdyChannel] = {}
        self._numbers = numbers
        self._complete = asyncio.Event()

    def accept(self, channel: SpdyChannel) -> bool:
        """For `SpdySession`. What was not announced is refused."""
        number = STREAM_NAMES.get(channel.headers.get("streamtype", ""))
        if number is None:
            raise ProtocolError("remote command", "stream without a known type")
        if number not in self._numbers or number in self.channels:
            return False
        self.channels[number] = channel
        if self.channels.keys() == self._numbers:
            self._complete.set()
        return True

    async def complete(self) -> None:
        """Raises StreamsMissing."""
        try:
            async with asyncio.timeout(STREAMS_TIMEOUT_S):
                await self._complete.wait()
        except TimeoutError:
            missing = (name for name, number in STREAM_NAMES.items() if number in self._numbers - self.channels.keys())
            raise StreamsMissing(tuple(missing), STREAMS_TIMEOUT_S) from None
