"""Attach through the whole server; the test is the container."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from cri.config.schema import StreamingSettings
from cri.streaming.server import StreamingServer
from cri.streaming.tickets import AttachTicket
from tests.local_runtime import LocalContainer, LocalRuntime
from tests.streaming_client import Command, open_command


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A client, and the container's side of its streams."""

    command: Command
    container: LocalContainer
    stdin: int

    def write(self, data: bytes) -> None:
        assert self.container.outputs.stdout is not None
        os.write(self.container.outputs.stdout, data)

    def close_output(self) -> None:
        for fd in (self.container.outputs.stdout, self.container.outputs.stderr):
            if fd is not None:
                os.close(fd)

    async def read(self) -> bytes:
        return await asyncio.to_thread(os.read, self.stdin, 65536)


class Serving:
    def __init__(self, server: StreamingServer, runtime: LocalRuntime) -> None:
        self.server = server
        self.runtime = runtime

    async def attach(self, *, stdin: bool = True, stdin_once: bool = False, websocket: bool = False) -> Attached:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        container = self.runtime.container = LocalContainer(stdin_fd=writer, stdin_once=stdin_once)
        ticket = AttachTicket(container_id="c", tty=False, stdin=stdin, stdout=True, stderr=True)
        command = await open_command(self.server.url(ticket), stdin=stdin, websocket=websocket)
        await container.attached.wait()
        return Attached(command=command, container=container, stdin=reader)


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    runtime = LocalRuntime()
    server = await StreamingServer.open(StreamingSettings(), runtime)
    yield Serving(server, runtime)
    await server.close()


carriers = pytest.mark.parametrize("websocket", [False, True], ids=["spdy", "websocket"])


@carriers
async def test_output_and_input_of_a_running_container(serving: Serving, websocket: bool) -> None:
    attached = await serving.attach(websocket=websocket)
    command = attached.command
    assert command.stdin is not None
    assert command.stdout is not None
    attached.write(b"prompt")
    await command.stdout.until(b"prompt")
    await command.stdin.send(b"typed")
    assert await attached.read() == b"typed"
    attached.close_output()
    attached.container.ended.set()
    assert await command.exit_code() == 0
    os.close(attached.stdin)


async def test_it_ends_with_the_container_even_if_the_output_is_held_open(serving: Serving) -> None:
    attached = await serving.attach(stdin=False)
    attached.write(b"last words")
    attached.container.ended.set()
    assert await attached.command.exit_code() == 0
    assert attached.command.stdout is not None
    assert bytes(attached.command.stdout.received) == b"last words"
    attached.close_output()
    os.close(attached.stdin)


async def test_the_end_of_the_input_detaches(serving: Serving) -> None:
    attached = await serving.attach()
    assert attached.command.stdin is not None
    await attached.command.stdin.send(b"bye")
    attached.command.stdin.finish()
    assert await attached.command.exit_code() == 0
    assert await attached.read() == b"bye"
    assert not attached.container.stdin_closed
    attached.close_output()
    os.close(attached.stdin)


async def test_the_only_input_ends_with_its_client_s(serving: Serving) -> None:
    attached = await serving.attach(stdin_once=True)
    assert attached.command.stdin is not None
    await attached.command.stdin.send(b"echo hello\n")
    attached.command.stdin.finish()
    assert await attached.read() == b"echo hello\n"
    assert await attached.read() == b""
    attached.write(b"hello\n")
    attached.close_output()
    attached.container.ended.set()
    assert await attached.command.exit_code() == 0
    assert attached.command.stdout is not None
    assert bytes(attached.command.stdout.received) == b"hello\n"
    os.close(attached.stdin)


@carriers
async def test_the_only_input_ends_when_its_client_goes(serving: Serving, websocket: bool) -> None:
    attached = await serving.attach(stdin_once=True, websocket=websocket)
    attached.command.client.abort()
    assert await attached.read() == b""
    await attached.container.detached.wait()
    attached.close_output()
    os.close(attached.stdin)


async def test_an_input_for_many_survives_its_client(serving: Serving) -> None:
    attached = await serving.attach()
    attached.command.client.abort()
    await attached.container.detached.wait()
    assert not attached.container.stdin_closed
    attached.close_output()
    os.close(attached.stdin)


async def test_a_client_cut_off_for_its_slowness_is_told(serving: Serving) -> None:
    """The shim closes the pipe of a client that has fallen too far behind; here the test does."""
    attached = await serving.attach(stdin=False)
    command = attached.command
    assert command.stdout is not None
    assert attached.container.outputs.stdout is not None
    count = 0

    def add(data: bytes) -> None:
        nonlocal count
        count += len(data)

    command.stdout.take = add
    command.client.pause()
    os.set_blocking(attached.container.outputs.stdout, False)
    written = idle = 0
    while idle < 1000:  # until the pipe has stayed full for many turns of the loop
        try:
            written += os.write(attached.container.outputs.stdout, bytes(65536))
            idle = 0
        except BlockingIOError:
            idle += 1
        await asyncio.sleep(0)
    assert written < 64 << 20
    attached.close_output()
    command.client.resume()
    status = await command.status()
    assert status["reason"] == "InternalError"
    assert "too slowly" in str(status["message"])
    assert count == written
    os.close(attached.stdin)


async def test_a_container_that_does_not_run(serving: Serving) -> None:
    ticket = AttachTicket(container_id="c", tty=False, stdin=False, stdout=True, stderr=True)
    command = await open_command(serving.server.url(ticket))
    assert "not running" in str((await command.status())["message"])
