"""Port-forward through the whole server, to ports of this machine's localhost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cri.config.schema import StreamingSettings
from cri.streaming import port_forward
from cri.streaming.server import StreamingServer
from cri.streaming.tickets import PortForwardTicket
from tests.local_runtime import LocalRuntime
from tests.streaming_client import PORT_FORWARD, SpdyClient, Stream, UpgradeRefused, WebSocketClient

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Serving:
    def __init__(self, server: StreamingServer) -> None:
        self.server = server
        self.clients: list[SpdyClient] = []

    def url(self, sandbox: str = "pod") -> str:
        return self.server.url(PortForwardTicket(sandbox_id=sandbox))

    async def client(self, *, tunnel: bool = False, sandbox: str = "pod") -> SpdyClient:
        url = self.url(sandbox)
        client = await (SpdyClient.through_websocket(url) if tunnel else SpdyClient.connect(url, PORT_FORWARD))
        self.clients.append(client)
        return client


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    server = await StreamingServer.open(StreamingSettings(), LocalRuntime())
    serving = Serving(server)
    yield serving
    for client in serving.clients:
        await client.close()
    await server.close()


class Port:
    """A server in the pod."""

    def __init__(self, handler: Handler, family: socket.AddressFamily = socket.AF_INET) -> None:
        self._handler = handler
        self._family = family

    async def __aenter__(self) -> int:
        host = "127.0.0.1" if self._family is socket.AF_INET else "::1"
        self._server = await asyncio.start_server(self._handler, host, 0, family=self._family)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *error: object) -> None:
        self._server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    await reader.read()
    writer.close()


async def open_pair(client: SpdyClient, port: int, request: int) -> tuple[Stream, Stream]:
    """The error stream, whose other half kubectl finishes at once, and the data stream."""
    error = await client.open(streamType="error", port=str(port), requestID=str(request))
    error.finish()
    data = await client.open(streamType="data", port=str(port), requestID=str(request))
    return error, data


@pytest.mark.parametrize("tunnel", [False, True], ids=["spdy", "websocket"])
async def test_a_connection_to_its_end(serving: Serving, tunnel: bool) -> None:
    async with Port(echo) as port:
        client = await serving.client(tunnel=tunnel)
        error, data = await open_pair(client, port, 0)
        await data.send(b"hello")
        await data.until(b"hello")
        data.finish()
        assert await data.read_all() == b"hello"
        assert await error.read_all() == b""


async def test_ipv6(serving: Serving) -> None:
    async with Port(echo, socket.AF_INET6) as port:
        _, data = await open_pair(await serving.client(), port, 0)
        await data.send(b"six")
        await data.until(b"six")


async def test_many_connections_at_once(serving: Serving) -> None:
    async with Port(echo) as port:
        client = await serving.client()
        pairs = [await open_pair(client, port, number) for number in range(50)]
        for number, (_, data) in enumerate(pairs):
            await data.send(b"%d." % number)
        for number, (error, data) in enumerate(pairs):
            data.finish()
            assert await data.read_all() == b"%d." % number
            assert await error.read_all() == b""


@pytest.mark.parametrize("tunnel", [False, True], ids=["spdy", "websocket"])
async def test_much_data(serving: Serving, tunnel: bool) -> None:
    async with Port(echo) as port:
        error, data = await open_pair(await serving.client(tunnel=tunnel), port, 0)
        sent, received = hashlib.sha256(), hashlib.sha256()
        data.take = received.update
        block = os.urandom(77_777)
        for _ in range(100):
            sent.update(block)
            await data.send(block)
        data.finish()
        await data.read_all()
        assert received.digest() == sent.digest()
        assert await error.read_all() == b""


async def test_nothing_listens(serving: Serving) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error, data = await open_pair(await serving.client(), port, 0)
    text = (await error.read_all()).decode()
    assert f"port {port}" in text
    assert "Connection refused" in text
    assert await data.read_all() == b""


async def test_a_pod_that_is_gone(serving: Serving) -> None:
    error, _ = await open_pair(await serving.client(sandbox="other"), 80, 0)
    assert b"not running" in await error.read_all()


async def test_the_pod_closes_first(serving: Serving) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.close()

    async with Port(greet) as port:
        client = await serving.client()
        error, data = await open_pair(client, port, 0)
        assert await data.read_all() == b"bye"
        client.reset(data)  # as kubectl does then, and it waits for the error stream
        assert await error.read_all() == b""


async def test_a_client_that_goes_closes_the_connections(serving: Serving) -> None:
    closed = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()
        writer.close()

    async with Port(wait) as port:
        client = await serving.client()
        _, data = await open_pair(client, port, 0)
        await data.send(b"x")
        client.abort()
        await closed.wait()


async def test_streams_without_a_request_id(serving: Serving) -> None:
    async with Port(echo) as port:
        client = await serving.client()
        await client.open(streamType="error", port=str(port))
        data = await client.open(streamType="data", port=str(port))
        await data.send(b"old")
        await data.until(b"old")


async def test_half_a_pair_is_given_up(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "PAIR_TIMEOUT_S", 0.05)
    client = await serving.client()
    error = await client.open(streamType="error", port="80", requestID="0")
    await error.ended.wait()
    assert error.was_reset


@pytest.mark.parametrize(
    "headers",
    [
        {"streamType": "data", "port": "0"},
        {"streamType": "data", "port": "65536"},
        {"streamType": "data", "port": "x"},
        {"streamType": "data"},
        {"streamType": "stdin", "port": "80"},
    ],
)
async def test_streams_that_make_no_sense_end_the_connection(serving: Serving, headers: dict[str, str]) -> None:
    client = await serving.client()
    client.begin(**headers)
    await client.closed.wait()


async def test_old_websocket_clients(serving: Serving) -> None:
    """As the Python client does: two channels for each port, which each begins with the port's number."""
    async with Port(hello) as first, Port(echo) as second:
        url = serving.server.url(PortForwardTicket(sandbox_id="pod", ports=(first, second)))
        client = await WebSocketClient.connect(url, ("v4.channel.k8s.io",))
        await client.streams[2].send(b"to the second")
        await client.streams[0].until(b"hello")
        await client.streams[2].until(b"second")
        assert [bytes(client.streams[number].received) for number in range(4)] == [
            first.to_bytes(2, "little") + b"hello",
            first.to_bytes(2, "little"),
            second.to_bytes(2, "little") + b"to the second",
            second.to_bytes(2, "little"),
        ]
        await client.close()


async def test_old_websocket_clients_where_nothing_listens(serving: Serving) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = await WebSocketClient.connect(serving.server.url(PortForwardTicket(sandbox_id="pod", ports=(port,))), ())
    assert b"Connection refused" in await client.streams[1].read_all()
    assert client.close_code == 1000
    await client.close()


async def test_old_websocket_clients_must_announce_their_ports(serving: Serving) -> None:
    with pytest.raises(UpgradeRefused, match="1 to 127 ports"):
        await WebSocketClient.connect(serving.url(), ("v4.channel.k8s.io",))
