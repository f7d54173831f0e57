"""Exec through the whole server, with processes of this machine in place of containers'."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from cri.config.schema import StreamingSettings
from cri.streaming import command
from cri.streaming.server import StreamingServer
from cri.streaming.tickets import ExecTicket
from tests.local_runtime import LocalRuntime
from tests.streaming_client import (
    Command,
    SpdyClient,
    UpgradeRefused,
    WebSocketClient,
    exit_code,
    open_command,
    upgrade,
    websocket_headers,
)

carriers = pytest.mark.parametrize("websocket", [False, True], ids=["spdy", "websocket"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    server: StreamingServer
    runtime: LocalRuntime

    def url(self, *args: str, tty: bool = False, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> str:
        return self.server.url(
            ExecTicket(container_id="c", args=args, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr and not tty)
        )

    async def command(self, *args: str, tty: bool = False, stdin: bool = False, websocket: bool = False) -> Command:
        url = self.url(*args, tty=tty, stdin=stdin)
        return await open_command(url, websocket=websocket, stdin=stdin, tty=tty)

    async def shell(self, script: str, *, tty: bool = False, stdin: bool = False, websocket: bool = False) -> Command:
        return await self.command("sh", "-c", script, tty=tty, stdin=stdin, websocket=websocket)


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    runtime = LocalRuntime()
    server = await StreamingServer.open(StreamingSettings(), runtime)
    before = set(os.listdir("/proc/self/fd"))
    yield Serving(server=server, runtime=runtime)
    await server.close()
    runtime.close()
    for _ in range(20):  # closed sockets leave with the next turns of the loop
        await asyncio.sleep(0)
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 0


@carriers
async def test_output_and_exit_code(serving: Serving, websocket: bool) -> None:
    command = await serving.shell("echo out; echo err >&2; exit 7", websocket=websocket)
    status = await command.status()
    assert exit_code(status) == 7
    assert command.stdout is not None
    assert command.stderr is not None
    assert (bytes(command.stdout.received), bytes(command.stderr.received)) == (b"out\n", b"err\n")


@carriers
async def test_success(serving: Serving, websocket: bool) -> None:
    command = await serving.command("true", websocket=websocket)
    assert await command.status() == {"metadata": {}, "status": "Success"}


async def test_a_signal_is_an_exit_code(serving: Serving) -> None:
    command = await serving.shell("kill -9 $$")
    assert await command.exit_code() == 137


@carriers
async def test_stdin_can_be_finished(serving: Serving, websocket: bool) -> None:
    command = await serving.command("cat", stdin=True, websocket=websocket)
    assert command.stdin is not None
    assert command.stdout is not None
    await command.stdin.send(b"hello")
    await command.stdout.until(b"hello")
    command.stdin.finish()
    assert await command.exit_code() == 0


@carriers
async def test_much_data_both_ways_at_once(serving: Serving, websocket: bool) -> None:
    command = await serving.command("cat", stdin=True, websocket=websocket)
    assert command.stdin is not None
    assert command.stdout is not None
    sent, received = hashlib.sha256(), hashlib.sha256()
    command.stdout.take = received.update
    block = os.urandom(100_003)
    for _ in range(100):
        sent.update(block)
        await command.stdin.send(block)
    command.stdin.finish()
    assert await command.exit_code() == 0
    assert received.digest() == sent.digest()


async def test_what_a_process_does_not_read_is_no_obstacle_to_its_end(serving: Serving) -> None:
    command = await serving.shell("exec <&-; echo done", stdin=True)
    assert command.stdin is not None
    for _ in range(10):
        await command.stdin.send(bytes(64 << 10))
    assert await command.exit_code() == 0


async def test_a_process_that_does_not_read_stops_its_client(serving: Serving) -> None:
    command = await serving.shell("read line; echo $line; cat > /dev/null", stdin=True)
    assert command.stdin is not None
    assert command.stdout is not None
    writer = command.client._writer
    transport = writer.transport
    sent = 0
    # cat is not there before a line is: the pipe, the buffers and the sockets fill
    while transport.get_write_buffer_size() == 0 and sent < 64 << 20:
        writer.write(b"")
        command.stdin._send(bytes(64 << 10))
        sent += 64 << 10
        await asyncio.sleep(0)
    assert sent < 64 << 20, "the server has taken 64 MiB that no process has read"
    command.stdin._send(b"\n")
    command.stdin.finish()
    assert await command.exit_code() == 0


async def test_a_client_that_does_not_read_stops_the_process_and_loses_nothing(serving: Serving) -> None:
    command = await serving.shell("head -c 20000000 /dev/zero; echo finished >&2")
    assert command.stdout is not None
    assert command.stderr is not None
    count = 0

    def add(data: bytes) -> None:
        nonlocal count
        count += len(data)

    command.stdout.take = add
    command.client.pause()
    other = await serving.command("true")
    assert await other.exit_code() == 0, "one slow client is no other's business"
    assert serving.runtime.processes[0].process.poll() is None, "20 MB went somewhere"
    command.client.resume()
    assert await command.exit_code() == 0
    assert count == 20_000_000
    assert bytes(command.stderr.received) == b"finished\n"


async def test_children_that_hold_the_output_do_not_hold_the_client(serving: Serving) -> None:
    command = await serving.shell("sleep 60 & echo $!")
    assert command.stdout is not None
    assert await command.exit_code() == 0
    os.kill(int(command.stdout.received), signal.SIGKILL)


@carriers
async def test_a_terminal(serving: Serving, websocket: bool) -> None:
    command = await serving.shell(
        "tty -s && read line && echo got:$line; exit 3", tty=True, stdin=True, websocket=websocket
    )
    assert command.stdin is not None
    assert command.stdout is not None
    await command.stdin.send(b"word\n")
    assert await command.exit_code() == 3
    assert b"got:word\r\n" in command.stdout.received


@carriers
async def test_a_terminal_is_resized(serving: Serving, websocket: bool) -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
    command = await serving.shell(script, tty=True, stdin=True, websocket=websocket)
    assert command.stdout is not None
    await command.stdout.until(b"ready")
    await command.resize(101, 33)
    assert await command.exit_code() == 0
    assert b"33 101" in command.stdout.received


@pytest.mark.root
async def test_a_terminal_hangs_up_when_its_client_goes(serving: Serving) -> None:
    command = await serving.shell("trap 'exit 5' HUP; echo ready; while :; do sleep 0.05; done", tty=True, stdin=True)
    assert command.stdout is not None
    await command.stdout.until(b"ready")
    command.client.abort()
    process = serving.runtime.processes[0]
    assert await process.wait() in (5, 128 + signal.SIGHUP)
    await process.closed.wait()


@carriers
async def test_the_input_ends_when_its_client_goes(serving: Serving, websocket: bool) -> None:
    command = await serving.shell("echo ready; cat; exit 4", stdin=True, websocket=websocket)
    assert command.stdout is not None
    await command.stdout.until(b"ready")
    command.client.abort()
    assert await serving.runtime.processes[0].wait() == 4


async def test_a_client_that_goes_while_its_process_reads_nothing_is_noticed(serving: Serving) -> None:
    command = await serving.shell("trap 'exit 0' TERM; echo ready; sleep 60 & wait", stdin=True)
    assert command.stdin is not None
    assert command.stdout is not None
    await command.stdout.until(b"ready")
    # Enough for the server to stop reading, and little enough for the end of the connection to arrive behind it.
    await command.stdin.send(bytes(256 << 10))
    command.client.abort()
    process = serving.runtime.processes[0]
    await process.closed.wait()
    process.process.terminate()


async def test_only_the_streams_asked_for_exist(serving: Serving) -> None:
    url = serving.url("sh", "-c", "cat; echo out; echo err >&2", stderr=False)
    command = await open_command(url, stderr=False)
    assert await command.exit_code() == 0
    assert command.stdout is not None
    assert bytes(command.stdout.received) == b"out\n"


async def test_a_stream_nobody_asked_for_is_refused(serving: Serving) -> None:
    client = await SpdyClient.connect(serving.url("true", stderr=False))
    stream = await client.open(streamType="stderr")
    assert stream.was_reset
    await client.close()


async def test_what_cannot_start_is_told(serving: Serving) -> None:
    command = await serving.command("/does/not/exist")
    status = await command.status()
    assert (status["status"], status["reason"], status["code"]) == ("Failure", "InternalError", 500)


async def test_clients_that_open_no_streams_are_dropped(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "STREAMS_TIMEOUT_S", 0.05)
    client = await SpdyClient.connect(serving.url("true"))
    await client.open(streamType="error")
    await client.closed.wait()
    assert serving.runtime.processes == []
    await client.close()


async def test_old_protocols(serving: Serving) -> None:
    for protocol in ("v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"):
        command = await open_command(serving.url("sh", "-c", "exit 9"), protocols=(protocol,))
        assert b"exit code: 9" in await command.error.read_all()
        await command.client.close()


async def test_base64(serving: Serving) -> None:
    protocol = ("v4.base64.channel.k8s.io",)
    command = await open_command(serving.url("echo", "hi"), websocket=True, protocols=protocol)
    assert command.client.headers["sec-websocket-protocol"] == protocol[0]
    assert await command.exit_code() == 0
    assert command.stdout is not None
    assert bytes(command.stdout.received) == b"hi\n"


async def test_pings_are_answered(serving: Serving) -> None:
    client = await SpdyClient.connect(serving.url("true"))
    client.spdy.ping(1)
    assert await client.pongs.get() == 1
    await client.close()


async def test_a_websocket_ends_with_a_normal_closure(serving: Serving) -> None:
    command = await serving.command("true", websocket=True)
    assert isinstance(command.client, WebSocketClient)
    await command.error.read_all()
    assert command.client.close_code == 1000
    await command.client.close()


SPDY = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]


async def refusal(url: str, headers: list[tuple[str, str]], method: str = "POST") -> UpgradeRefused:
    with pytest.raises(UpgradeRefused) as caught:
        await upgrade(url, headers, method=method)
    return caught.value


async def test_a_token_is_good_once(serving: Serving) -> None:
    url = serving.url("true")
    client = await SpdyClient.connect(url)
    assert (await refusal(url, SPDY)).status == 404
    await client.close()


async def test_what_is_refused(serving: Serving) -> None:
    origin = serving.url("true").rsplit("/", 2)[0]
    for path in ("/", "/exec", "/exec/", "/exec/nosuchtoken", "/a/b/c"):
        assert (await refusal(origin + path, SPDY)).status == 404
    assert (await refusal(serving.url("true").replace("/exec/", "/attach/"), SPDY)).status == 404
    assert (await refusal(serving.url("true"), SPDY, "PUT")).status == 405
    assert (await refusal(serving.url("true"), [])).status == 400
    assert (await refusal(serving.url("true"), [("Connection", "Upgrade"), ("Upgrade", "h2c")])).status == 400
    refused = await refusal(serving.url("true"), [*SPDY, ("X-Stream-Protocol-Version", "v9.channel.k8s.io")])
    assert refused.status == 403
    assert "v4.channel.k8s.io" in refused.headers["x-accepted-stream-protocol-versions"]
    assert (await refusal(serving.url("true"), websocket_headers(("v9.channel.k8s.io",)), "GET")).status == 400
    assert (await refusal(serving.url("true"), websocket_headers(()), "POST")).status == 400


async def test_both_methods_are_taken(serving: Serving) -> None:
    for method in ("GET", "POST"):
        client = await SpdyClient.connect(serving.url("true"), method=method)
        await client.close()


async def test_broken_spdy_ends_the_connection(serving: Serving) -> None:
    upgraded = await upgrade(serving.url("true"), [*SPDY, ("X-Stream-Protocol-Version", "v4.channel.k8s.io")])
    upgraded.writer.write(bytes.fromhex("80020001 00000000"))
    assert (await upgraded.reader.read()).startswith(bytes.fromhex("80030007")), "GOAWAY"
    upgraded.writer.close()


async def test_garbage_instead_of_a_request(serving: Serving) -> None:
    host, port = serving.url("true").split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x16\x03\x01\0\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
