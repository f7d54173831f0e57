"""oci.dbus: messages there and back, and a conversation with a peer that answers as systemd does."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.dbus import wire
from oci.dbus.connection import BusError, Connection
from oci.dbus.wire import Kind, WireError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def reply(kind: Kind, serial: int, signature: str, *body: object, error: str = "", member: str = "") -> bytes:
    """A message of the other side: `wire.call` with another kind and other fields."""
    fields: list[tuple[int, tuple[str, object]]] = [(8, ("g", signature))] if signature else []
    if kind is Kind.SIGNAL:
        fields += [(3, ("s", member))]
    else:
        fields += [(5, ("u", serial))]
    if error:
        fields += [(4, ("s", error))]
    content, head = wire._Writer(), wire._Writer()
    for one, value in zip(wire.split(signature), body, strict=True):
        content.put(one, value)
    head.buffer += struct.pack("<BBBBII", ord("l"), kind, 0, 1, len(content.buffer), 77)
    head.put("a(yv)", fields)
    head.align(8)
    return bytes(head.buffer + content.buffer)


@given(TEXT, st.lists(TEXT, max_size=3), st.integers(0, 2**64 - 1), st.binary(max_size=9), st.booleans())
def test_what_is_sent_is_what_is_read(text: str, texts: list[str], big: int, data: bytes, truth: bool) -> None:
    body = (text, texts, [("A", ("t", big)), ("B", ("ay", data))], truth)
    message = wire.call(9, path="/a", interface="i.f", member="M", destination="d.e", signature="sasa(sv)b", body=body)
    assert wire.total_length(message[: wire.PREFIX]) == len(message)
    read = wire.parse(message)
    assert (read.kind, read.serial, read.path, read.interface, read.member) == (Kind.CALL, 9, "/a", "i.f", "M")
    assert read.body == (text, texts, [("A", big), ("B", data)], truth)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        wire.parse(data)
    except (WireError, ValueError, struct.error, RecursionError, IndexError, KeyError):
        pass


@pytest.mark.parametrize("signature", ["(s", "a", "a(", "z", "a{sv"])
def test_bad_signatures_are_refused(signature: str) -> None:
    with pytest.raises(WireError):
        list(wire.split(signature))


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(WireError, match="'x' is not of type 'u'"):
        wire.call(1, path="/", interface="i", member="m", destination="d", signature="u", body=("x",))


Answers = Callable[[wire.Message], list[bytes]]


class Peer:
    """Serves one connection at `path` in a thread."""

    def __init__(self, path: Path, answers: Answers, greeting: bytes = b"OK 1234\r\n") -> None:
        self.path, self._answers, self._greeting = path, answers, greeting
        self.first = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while not self.first.endswith(b"BEGIN\r\n"):
                self.first += connection.recv(64)
            connection.sendall(self._greeting)
            while prefix := connection.recv(wire.PREFIX, socket.MSG_WAITALL):
                rest = connection.recv(wire.total_length(prefix) - wire.PREFIX, socket.MSG_WAITALL)
                for answer in self._answers(wire.parse(prefix + rest)):
                    connection.sendall(answer)


def test_a_call_and_the_signal_that_came_before_its_answer(tmp_path: Path) -> None:
    def answers(message: wire.Message) -> list[bytes]:
        return [
            reply(Kind.SIGNAL, 0, "us", 1, "other", member="JobRemoved"),
            reply(Kind.SIGNAL, 0, "us", 2, "ours", member="JobRemoved"),
            reply(Kind.RETURN, message.serial, "o", "/job/2"),
        ]

    peer = Peer(tmp_path / "s", answers)
    bus = Connection(str(peer.path), bus=False)
    assert peer.first == b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n" or peer.first.startswith(b"\0AUTH EXTERNAL ")
    assert bus.call("d", "/", "i", "Start", "s", "unit") == ("/job/2",)
    assert bus.wait_signal("JobRemoved", lambda values: values[0] == 2) == (2, "ours")
    bus.close()


def test_errors_have_the_peers_name_and_words(tmp_path: Path) -> None:
    def answers(message: wire.Message) -> list[bytes]:
        return [reply(Kind.ERROR, message.serial, "s", "no such unit", error="x.NoSuchUnit")]

    bus = Connection(str(Peer(tmp_path / "s", answers).path), bus=False)
    with pytest.raises(BusError, match=r"x\.NoSuchUnit: no such unit") as caught:
        bus.call("d", "/", "i", "Stop")
    assert caught.value.name == "x.NoSuchUnit"
    bus.close()


def test_a_bus_is_greeted_and_asked_for_signals(tmp_path: Path) -> None:
    heard: list[str] = []

    def answers(message: wire.Message) -> list[bytes]:
        heard.append(message.member)
        return [reply(Kind.RETURN, message.serial, "")]

    bus = Connection(str(Peer(tmp_path / "s", answers).path), bus=True)
    bus.listen("i", "JobRemoved")
    bus.close()
    assert heard == ["Hello", "AddMatch"]


def test_who_is_refused_or_finds_nobody_is_told(tmp_path: Path) -> None:
    refusing = Peer(tmp_path / "s", lambda message: [], greeting=b"REJECTED EXTERNAL\r\n")
    with pytest.raises(BusError, match="authentication refused: REJECTED"):
        Connection(str(refusing.path), bus=False)
    with pytest.raises(BusError, match="nobody"):
        Connection(str(tmp_path / "nobody"), bus=False)
