"""Connects one client to a running container: its output from now on, its input, its terminal.

It ends when the container or its output does. It also ends when the client's input does, unless that input was the
container's only one (stdin_once): then the container sees the end of it, and the client what the container makes of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from cri.errors import status_of
from cri.streaming import terminal
from cri.streaming.command import CommandClient
from cri.streaming.descriptors import DescriptorSink, DescriptorSource
from cri.streaming.exec import QUIET_S, Pipe, fd_of
from cri.streaming.flow import Unread
from cri.streaming.runtime import Attachment, Runtime, Stdio
from cri.streaming.tickets import AttachTicket

_log = logging.getLogger(__name__)


async def serve_attach(runtime: Runtime, ticket: AttachTicket, client: CommandClient) -> None:
    """Raises what `runtime` raises. Cancelled when the client goes away."""
    with ExitStack() as stack:
        with ExitStack() as theirs:
            stdout = Pipe(stack, theirs, we_read=True) if client.stdout is not None else None
            stderr = Pipe(stack, theirs, we_read=True) if client.stderr is not None else None
            attachment = await runtime.attach(ticket, Stdio(stdout=fd_of(stdout), stderr=fd_of(stderr)))
        stack.callback(attachment.close)
        sources = [
            DescriptorSource(pipe.ours, channel)
            for pipe, channel in ((stdout, client.stdout), (stderr, client.stderr))
            if pipe is not None
        ]
        for source in sources:
            stack.callback(source.stop)
        if attachment.is_terminal and attachment.stdin_fd is not None:
            console = attachment.stdin_fd
            client.terminal.apply(lambda size: terminal.resize(console, size))
            stack.callback(client.terminal.apply, _ignore)
        async with _input(attachment, client) as input_ended:
            cut_off = await _until_over(attachment, sources, input_ended)
    if cut_off:
        client.failed("output was cut off: the client read too slowly")
    else:
        client.exited(0)


@asynccontextmanager
async def _input(attachment: Attachment, client: CommandClient) -> AsyncIterator[asyncio.Event]:
    """Passes the client's input on; the event is set when that ends the attachment."""
    ended, detached = asyncio.Event(), asyncio.Event()
    if client.stdin is None:
        yield detached
        return
    if attachment.stdin_fd is None:  # the container reads nothing: its client may type what it likes
        client.stdin.receive_with(Unread())
        yield detached
        return
    sink = DescriptorSink(attachment.stdin_fd, client.stdin, ended.set)
    # A terminal's input ends by what is typed.
    is_last = attachment.stdin_once and not attachment.is_terminal
    follower = asyncio.create_task(_follow(attachment, ended, detached, is_last))
    try:
        yield detached
    finally:
        follower.cancel()
        sink.stop()
        if is_last and not ended.is_set():
            await _close_stdin(attachment)


async def _follow(attachment: Attachment, ended: asyncio.Event, detached: asyncio.Event, is_last: bool) -> None:
    await ended.wait()
    if is_last:
        await _close_stdin(attachment)
    else:
        detached.set()


async def _close_stdin(attachment: Attachment) -> None:
    try:
        await attachment.close_stdin()
    except Exception as error:  # the container or its shim is gone, and with it its input
        _log.info("standard input of a container could not be closed: %s", status_of(error).text)


async def _until_over(attachment: Attachment, sources: list[DescriptorSource], input_ended: asyncio.Event) -> bool:
    """True if the shim has cut the output off, since the client was too far behind."""
    waits = [asyncio.create_task(attachment.exited()), asyncio.create_task(input_ended.wait())]
    exited, _ = waits
    if sources:
        waits.append(asyncio.create_task(_all_ended(sources)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if all(source.ended.is_set() for source in sources) and any(source.was_paused for source in sources):
            await asyncio.wait((exited,), timeout=QUIET_S)
            return not exited.done()
        if not exited.done():
            return False  # detached: whatever the container writes now is not for this client any more
        await asyncio.gather(*(source.drained(QUIET_S) for source in sources))
        return False
    finally:
        for wait in waits:
            wait.cancel()


async def _all_ended(sources: list[DescriptorSource]) -> None:
    for source in sources:
        await source.ended.wait()


def _ignore(size: object) -> None:
    pass
