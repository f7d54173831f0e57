"""Runs one command in a container for one client: streams, terminal, exit code.

When the client goes away the command loses what it had of it: its input ends, writing its output fails (SIGPIPE), its
terminal hangs up (SIGHUP). A command that minds neither runs on; it belongs to the container.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from typing import Final

from cri.streaming import terminal
from cri.streaming.command import CommandClient
from cri.streaming.descriptors import DescriptorSink, DescriptorSource
from cri.streaming.runtime import Process, Runtime, Stdio
from cri.streaming.tickets import ExecTicket

#: How long output may still come after the command has ended: its children may hold the pipe for ever.
QUIET_S: Final = 0.25


async def serve_exec(runtime: Runtime, ticket: ExecTicket, client: CommandClient) -> None:
    """Raises what `runtime` raises. Cancelled when the client goes away."""
    if ticket.tty:
        await _with_terminal(runtime, ticket, client)
    else:
        await _with_pipes(runtime, ticket, client)


async def _with_terminal(runtime: Runtime, ticket: ExecTicket, client: CommandClient) -> None:
    process = await runtime.exec(ticket, Stdio(), client.terminal.size)
    with ExitStack() as stack:
        stack.callback(process.close)
        console = process.console_fd
        assert console is not None, "a process with a terminal has a console"
        # Read even if nobody asked for it: a full terminal stops who writes to it.
        source = DescriptorSource(console, client.stdout)
        stack.callback(source.stop)
        if client.stdin is not None:
            # A terminal has no end of input but the one that is typed (Ctrl-D): the client's end changes nothing.
            stack.callback(DescriptorSink(console, client.stdin, _nothing).stop)
        client.terminal.apply(lambda size: terminal.resize(console, size))
        stack.callback(client.terminal.apply, _ignore)
        try:
            code = await _finish(process, source)
        except asyncio.CancelledError:
            terminal.hang_up(console)
            raise
    client.exited(code)


async def _with_pipes(runtime: Runtime, ticket: ExecTicket, client: CommandClient) -> None:
    with ExitStack() as stack:
        with ExitStack() as theirs:
            # The client's wish decides: a stream that it did not ask for is /dev/null.
            stdin = Pipe(stack, theirs, we_read=False) if client.stdin is not None else None
            stdout = Pipe(stack, theirs, we_read=True) if client.stdout is not None else None
            stderr = Pipe(stack, theirs, we_read=True) if client.stderr is not None else None
            stdio = Stdio(stdin=fd_of(stdin), stdout=fd_of(stdout), stderr=fd_of(stderr))
            process = await runtime.exec(ticket, stdio, None)
        stack.callback(process.close)
        if stdin is not None and client.stdin is not None:
            stack.callback(DescriptorSink(stdin.ours, client.stdin, stdin.close).stop)
        sources = [
            DescriptorSource(pipe.ours, channel)
            for pipe, channel in ((stdout, client.stdout), (stderr, client.stderr))
            if pipe is not None
        ]
        for source in sources:
            stack.callback(source.stop)
        code = await _finish(process, *sources)
    client.exited(code)


async def _finish(process: Process, *sources: DescriptorSource) -> int:
    code = await process.wait()
    await asyncio.gather(*(source.drained(QUIET_S) for source in sources))
    return code


class Pipe:
    """`ours` is non-blocking and closed with the first stack, or before; the process's end with the second."""

    def __init__(self, ours: ExitStack, theirs: ExitStack, *, we_read: bool) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self.ours, self.theirs = (reader, writer) if we_read else (writer, reader)
        os.set_blocking(self.ours, False)
        self._open = True
        ours.callback(self.close)
        theirs.callback(os.close, self.theirs)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.ours)


def fd_of(pipe: Pipe | None) -> int | None:
    return None if pipe is None else pipe.theirs


def _nothing() -> None:
    pass


def _ignore(size: object) -> None:
    pass
