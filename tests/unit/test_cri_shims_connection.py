"""A connection whose other end says nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from cri.shims import ShimGone, ShimHung
from cri.shims.connection import Connection
from cri.shims.silence import Silence
from oci.protocol import transport
from oci.protocol.messages import Done, Handles, Start
from tests.unit.cri_daemon import until


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def connection(sock: socket.socket, heard: list[str], patience_s: float = 0.01) -> Connection:
    made = Connection(
        "pod a/b: its shim",
        sock,
        on_event=lambda message: None,
        on_lost=lambda: heard.append("lost"),
        probe=Handles(container_id="none"),
        hang=lambda: "hangs",
    )
    made.on_heard = lambda: heard.append("heard")
    made._silence = Silence(
        is_waiting=lambda: bool(made._waiting), ask=made._ask, give_up=made._give_up, patience_s=patience_s
    )
    return made


def answer(sock: socket.socket, id: int) -> None:
    transport.send(sock, transport.prepare(id, Done()))


async def test_nobody_waits_for_ever_for_a_peer_that_hangs(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    heard: list[str] = []
    made = connection(ours, heard)
    with pytest.raises(ShimHung, match="pod a/b: its shim: hangs"):
        await made.request(Start(container_id="a"), Done)
    with pytest.raises(ShimHung):  # at once, and nothing is sent
        await made.request(Start(container_id="b"), Done)
    first, question = transport.receive(theirs), transport.receive(theirs)
    assert first is not None
    assert question is not None
    assert question.message == Handles(container_id="none")
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        transport.receive(theirs)
    answer(theirs, question.id)
    await until(lambda: made._hung is None)
    assert heard == []  # it lives; what it did of the first is not known yet
    answer(theirs, first.id)
    await until(lambda: heard == ["heard"])
    waiting = asyncio.ensure_future(made.request(Start(container_id="c"), Done))
    await asyncio.sleep(0)
    third = transport.receive(theirs)
    assert third is not None
    answer(theirs, third.id)
    await waiting
    assert heard == ["heard"]
    made.close()


async def test_a_long_request_is_waited_for_while_the_peer_answers_others(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    heard: list[str] = []
    made = connection(ours, heard)
    waiting = asyncio.ensure_future(made.request(Start(container_id="a"), Done))
    await asyncio.sleep(0)
    first = transport.receive(theirs)
    assert first is not None
    theirs.setblocking(False)
    for _ in range(3):  # three questions
        question = None
        while question is None:
            await asyncio.sleep(0.001)
            try:
                question = transport.receive(theirs)
            except BlockingIOError:
                continue
        answer(theirs, question.id)
    assert not waiting.done()
    answer(theirs, first.id)
    await waiting
    assert heard == []
    made.close()


async def test_silence_counts_though_a_caller_stops_waiting(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    made = connection(ours, [], patience_s=1000)
    gone = asyncio.ensure_future(made.request(Start(container_id="a"), Done))
    await asyncio.sleep(0)
    since = made._silence._since
    gone.cancel()
    waiting = asyncio.ensure_future(made.request(Start(container_id="b"), Done))
    await asyncio.sleep(0)
    assert made._silence._since == since > 0
    made._give_up()
    with pytest.raises(ShimHung):
        await waiting
    made.close()


async def test_the_end_of_a_peer_is_not_taken_for_a_hang(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    heard: list[str] = []
    made = connection(ours, heard)
    waiting = asyncio.ensure_future(made.request(Start(container_id="a"), Done))
    await asyncio.sleep(0)
    theirs.close()
    with pytest.raises(ShimGone):
        await waiting
    assert heard == ["lost"]
