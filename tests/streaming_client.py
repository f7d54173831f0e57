"""A client of the streaming server for tests: exec, attach and port-forward over SPDY, WebSocket, and the tunnel.

Its framing is Coracle's own (`cri.streaming.spdy`, `cri.streaming.websocket`); that this is what the world speaks is
shown elsewhere, by fixed bytes in unit tests and by kubectl's and crictl's code in critest.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from cri.streaming.remote_command import ERROR, RESIZE, STDERR, STDIN, STDOUT, STREAM_NAMES
from cri.streaming.spdy import DataReceived, PingReceived, SpdyConnection, StreamReplied, StreamReset
from cri.streaming.websocket import ChannelData, Channels, Closed, Tunnel

NAMES = {number: name for name, number in STREAM_NAMES.items()}
V4 = ("v4.channel.k8s.io",)
V5 = ("v5.channel.k8s.io",)
PORT_FORWARD = ("portforward.k8s.io",)
TUNNEL = "SPDY/3.1+portforward.k8s.io"


class UpgradeRefused(Exception):
    def __init__(self, status: int, headers: dict[str, str], body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.headers = headers
        self.body = body


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: dict[str, str]


async def upgrade(
    url: str, headers: Sequence[tuple[str, str]], *, method: str = "POST", tls: ssl.SSLContext | None = None
) -> Upgraded:
    parts = urlsplit(url)
    assert parts.hostname is not None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
    lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *(f"{name}: {text}" for name, text in headers)]
    writer.write("\r\n".join((*lines, "", "")).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    status = int(head[0].split(" ")[1])
    answer = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in head[1:] if line)}
    if status != 101:
        body = (await reader.read()).decode()
        writer.close()
        raise UpgradeRefused(status, answer, body)
    return Upgraded(reader=reader, writer=writer, headers=answer)


class Stream:
    """One direction pair. `received` grows unless `take` is set."""

    def __init__(self, send: Callable[[bytes], None], finish: Callable[[], None], writer: asyncio.StreamWriter) -> None:
        self.received = bytearray()
        self.take: Callable[[bytes], object] | None = None
        self.replied = asyncio.Event()
        self.ended = asyncio.Event()
        self.was_reset = False
        self.came = asyncio.Event()
        self._send = send
        self.finish = finish
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._send(data)
        await self._writer.drain()

    async def read_all(self) -> bytes:
        await self.ended.wait()
        return bytes(self.received)

    async def until(self, text: bytes) -> bytes:
        """What has come, once it holds `text`."""
        while text not in self.received:
            self.came.clear()
            if self.ended.is_set():
                raise AssertionError(f"{text!r} never came, but {bytes(self.received)!r}")
            ended = asyncio.ensure_future(self.ended.wait())
            came = asyncio.ensure_future(self.came.wait())
            await asyncio.wait((ended, came), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            came.cancel()
        return bytes(self.received)

    def got(self, data: bytes) -> None:
        if self.take is not None:
            self.take(data)
        else:
            self.received += data
        self.came.set()


class Client(Protocol):
    closed: asyncio.Event

    async def close(self) -> None: ...

    def abort(self) -> None: ...


class _Reading:
    """The connection's reading side; `pause` makes a slow client of it."""

    def __init__(self, upgraded: Upgraded) -> None:
        self.headers = upgraded.headers
        self.closed = asyncio.Event()
        self._reader = upgraded.reader
        self._writer = upgraded.writer
        self._go = asyncio.Event()
        self._go.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._read())

    def pause(self) -> None:
        self._go.clear()

    def resume(self) -> None:
        self._go.set()

    def abort(self) -> None:
        """As when the client is killed."""
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                await self._go.wait()
                data = await self._reader.read(256 << 10)
                if not data:
                    return
                self.handle(data)
        except ConnectionError:
            pass
        finally:
            self.closed.set()
            self.end()

    def handle(self, data: bytes) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError


class SpdyClient(_Reading):
    def __init__(self, upgraded: Upgraded, *, tunnel: bool = False) -> None:
        super().__init__(upgraded)
        self.streams: dict[int, Stream] = {}
        self.pongs: asyncio.Queue[int] = asyncio.Queue()
        self._tunnel = Tunnel(client=True, send=self._writer.write) if tunnel else None
        self.spdy = SpdyConnection(client=True, send=self._tunnel.send if self._tunnel else self._writer.write)
        self.start()

    @classmethod
    async def connect(
        cls, url: str, protocols: Sequence[str] = V4, *, method: str = "POST", tls: ssl.SSLContext | None = None
    ) -> SpdyClient:
        headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("Content-Length", "0")]
        headers += [("X-Stream-Protocol-Version", protocol) for protocol in protocols]
        return cls(await upgrade(url, headers, method=method, tls=tls))

    @classmethod
    async def through_websocket(cls, url: str, *, tls: ssl.SSLContext | None = None) -> SpdyClient:
        return cls(await upgrade(url, websocket_headers((TUNNEL,)), method="GET", tls=tls), tunnel=True)

    async def open(self, **headers: str) -> Stream:
        stream = self.begin(**headers)
        await stream.replied.wait()
        return stream

    def begin(self, **headers: str) -> Stream:
        """Without waiting for the reply."""
        number = self.spdy.open(tuple((name.lower(), text) for name, text in headers.items()))
        stream = Stream(
            lambda data: self.spdy.send_data(number, data),
            lambda: self.spdy.send_data(number, b"", fin=True),
            self._writer,
        )
        self.streams[number] = stream
        return stream

    def reset(self, stream: Stream) -> None:
        self.spdy.reset(next(number for number, known in self.streams.items() if known is stream))

    def handle(self, data: bytes) -> None:
        pieces = [data] if self._tunnel is None else list(self._tunnel.receive(data))
        for piece in pieces:
            if isinstance(piece, bytes):
                self._handle(piece)

    def _handle(self, data: bytes) -> None:
        for event in self.spdy.receive(data):
            if isinstance(event, PingReceived):
                self.pongs.put_nowait(event.ping_id)
            elif isinstance(event, StreamReplied):
                self.streams[event.stream_id].replied.set()
            elif isinstance(event, DataReceived):
                stream = self.streams[event.stream_id]
                if event.data:
                    stream.got(event.data)
                if event.fin:
                    stream.ended.set()
            elif isinstance(event, StreamReset):
                stream = self.streams[event.stream_id]
                stream.was_reset = True
                stream.replied.set()
                stream.ended.set()

    def end(self) -> None:
        for stream in self.streams.values():
            stream.replied.set()
            stream.ended.set()


class WebSocketClient(_Reading):
    def __init__(self, upgraded: Upgraded) -> None:
        super().__init__(upgraded)
        protocol = upgraded.headers.get("sec-websocket-protocol", "")
        self.channels = Channels(
            client=True,
            base64_text="base64" in protocol,
            close_signals=protocol.startswith("v5"),
            send=self._writer.write,
        )
        self.close_code: int | None = None
        self.streams = {number: self._stream(number) for number in range(5)}
        self.start()

    @classmethod
    async def connect(
        cls, url: str, protocols: Sequence[str] = V5, *, tls: ssl.SSLContext | None = None
    ) -> WebSocketClient:
        return cls(await upgrade(url, websocket_headers(protocols), method="GET", tls=tls))

    def _stream(self, number: int) -> Stream:
        return Stream(lambda data: self.channels.send(number, data), lambda: self.channels.finish(number), self._writer)

    def handle(self, data: bytes) -> None:
        for event in self.channels.receive(data):
            if isinstance(event, Closed):
                self.close_code = event.code
                self.end()
            elif isinstance(event, ChannelData):
                self.streams[event.channel].got(event.data)

    def end(self) -> None:
        for stream in self.streams.values():
            stream.ended.set()


def websocket_headers(protocols: Sequence[str]) -> list[tuple[str, str]]:
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", base64.b64encode(os.urandom(16)).decode()),
    ]
    return headers + ([("Sec-WebSocket-Protocol", ", ".join(protocols))] if protocols else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The streams of an exec or attach; those not asked for are None."""

    client: SpdyClient | WebSocketClient
    error: Stream
    stdin: Stream | None
    stdout: Stream | None
    stderr: Stream | None
    resize_stream: Stream | None

    async def resize(self, width: int, height: int) -> None:
        assert self.resize_stream is not None
        await self.resize_stream.send(json.dumps({"Width": width, "Height": height}).encode() + b"\n")

    async def status(self) -> dict[str, object]:
        """The metav1.Status that ends the command; then the connection is closed."""
        text = await self.error.read_all()
        await self.client.close()
        document = json.loads(text)
        assert isinstance(document, dict)
        return document

    async def exit_code(self) -> int:
        return exit_code(await self.status())


def exit_code(status: dict[str, object]) -> int:
    if status["status"] == "Success":
        return 0
    assert status["reason"] == "NonZeroExitCode", status
    details = status["details"]
    assert isinstance(details, dict)
    return int(details["causes"][0]["message"])


async def open_command(
    url: str,
    *,
    websocket: bool = False,
    protocols: Sequence[str] = (),
    stdin: bool = False,
    stdout: bool = True,
    stderr: bool = True,
    tty: bool = False,
    tls: ssl.SSLContext | None = None,
) -> Command:
    """Connects, and opens the streams in the order in which kubectl does."""
    wanted = {ERROR: True, STDIN: stdin, STDOUT: stdout, STDERR: stderr and not tty, RESIZE: tty}
    streams: dict[int, Stream] = {}
    client: SpdyClient | WebSocketClient
    if websocket:
        client = await WebSocketClient.connect(url, protocols or V5, tls=tls)
        streams = {number: client.streams[number] for number, is_wanted in wanted.items() if is_wanted}
    else:
        client = await SpdyClient.connect(url, protocols or V4, tls=tls)
        for number, is_wanted in wanted.items():
            if is_wanted:
                streams[number] = await client.open(streamType=NAMES[number])
    return Command(
        client=client,
        error=streams[ERROR],
        stdin=streams.get(STDIN),
        stdout=streams.get(STDOUT),
        stderr=streams.get(STDERR),
        resize_stream=streams.get(RESIZE),
    )
