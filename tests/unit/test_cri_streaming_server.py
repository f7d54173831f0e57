"""The server itself: addresses, TLS, silence, strangers."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from cri.config.schema import StreamingSettings
from cri.errors import FailedPrecondition
from cri.streaming import stranger
from cri.streaming.server import StreamingServer
from cri.streaming.tickets import ExecTicket
from tests.local_runtime import LocalRuntime
from tests.streaming_client import SpdyClient, open_command

SHELL = ("sh", "-c", "cat; exit 6")
TICKET = ExecTicket(container_id="c", args=SHELL, tty=False, stdin=True, stdout=True, stderr=True)


async def test_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    server = await StreamingServer.open(StreamingSettings(), LocalRuntime())
    url = server.url(TICKET)
    assert url.startswith("http://127.0.0.1:")
    assert "/exec/" in url
    await server.close()
    anywhere = await StreamingServer.open(StreamingSettings(address="::1"), LocalRuntime())
    assert anywhere.url(TICKET).startswith("http://[::1]:")
    await anywhere.close()
    everywhere = await StreamingServer.open(StreamingSettings(address="0.0.0.0"), LocalRuntime())
    assert everywhere.url(TICKET).startswith("http://127.0.0.1:"), "an address to connect to"
    await everywhere.close()


async def test_an_address_that_is_taken() -> None:
    server = await StreamingServer.open(StreamingSettings(), LocalRuntime())
    port = int(server.url(TICKET).split(":")[2].split("/")[0])
    with pytest.raises(FailedPrecondition, match=f"127.0.0.1:{port}"):
        await StreamingServer.open(StreamingSettings(port=port), LocalRuntime())
    await server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    key, certificate = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.mark.parametrize("websocket", [False, True], ids=["spdy", "websocket"])
async def test_tls(certificate: tuple[Path, Path], websocket: bool) -> None:
    runtime = LocalRuntime()
    settings = StreamingSettings(tls_certificate=certificate[0], tls_key=certificate[1])
    server = await StreamingServer.open(settings, runtime)
    url = server.url(TICKET)
    assert url.startswith("https://")
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    command = await open_command(url, stdin=True, websocket=websocket, tls=trust)
    assert command.stdin is not None
    assert command.stdout is not None
    data = bytes(range(256)) * 4096
    await command.stdin.send(data)
    command.stdin.finish()
    assert await command.exit_code() == 6
    assert bytes(command.stdout.received) == data
    await server.close()
    runtime.close()


async def test_a_certificate_that_cannot_be_used(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    for cert, key in ((tmp_path / "none", certificate[1]), (certificate[0], certificate[0])):
        with pytest.raises(FailedPrecondition, match="certificate"):
            await StreamingServer.open(StreamingSettings(tls_certificate=cert, tls_key=key), LocalRuntime())


async def test_silent_streams_are_closed() -> None:
    runtime = LocalRuntime()
    server = await StreamingServer.open(StreamingSettings(idle_timeout=0.2), runtime)
    command = await open_command(server.url(TICKET), stdin=True)
    await command.client.closed.wait()
    assert await runtime.processes[0].wait() == 6, "its input has ended"
    await server.close()
    runtime.close()


async def test_closing_the_server_drops_its_clients() -> None:
    runtime = LocalRuntime()
    server = await StreamingServer.open(StreamingSettings(), runtime)
    command = await open_command(server.url(TICKET), stdin=True)
    idle = await SpdyClient.connect(server.url(TICKET))
    await server.close()
    await command.client.closed.wait()
    await idle.closed.wait()
    runtime.close()


async def test_strangers_are_limited_and_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stranger, "MAX_STRANGERS", 2)
    monkeypatch.setattr(stranger, "REQUEST_TIMEOUT_S", 0.3)
    server = await StreamingServer.open(StreamingSettings(), LocalRuntime())
    host, port = server.url(TICKET).split("/")[2].split(":")
    strangers = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    writer.close()
    for silent, other in strangers:
        try:
            assert await silent.read() == b"", "dropped after its time"
        except ConnectionResetError:
            pass
        other.close()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await server.close()
