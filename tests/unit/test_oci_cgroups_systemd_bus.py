"""oci.cgroups.systemd_bus: a conversation with a peer that answers as systemd and as a message bus do."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jeepney import DBusAddress, HeaderFields, Message, Parser, new_error, new_method_return, new_signal

from oci.cgroups.systemd_bus import Connection
from oci.cgroups.systemd_calls import Systemd
from oci.errors import BusError, CgroupError

Answers = Callable[[Message], list[Message]]

MANAGER = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")


class Peer:
    """Serves one connection after the other at `path`, in a thread; what it has read is in `heard`."""

    def __init__(self, path: Path, answers: Answers, greeting: bytes = b"OK 1234\r\n") -> None:
        self.path, self._answers, self._greeting = path, answers, greeting
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.first = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, suppress(ConnectionAbortedError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        parser, serials = Parser(), itertools.count(1)
        self.first = b""
        while not self.first.endswith(b"BEGIN\r\n"):
            self.first += connection.recv(64)
        connection.sendall(self._greeting)
        while data := connection.recv(4096):
            parser.add_data(data)
            while (message := parser.get_next_message()) is not None:
                self.heard.append((member(message), message.body))
                for answer in self._answers(message):
                    connection.sendall(answer.serialise(serial=next(serials)))


def member(message: Message) -> str:
    return str(message.header.fields[HeaderFields.member])


def removed(number: int, unit: str, result: str = "done") -> Message:
    return new_signal(MANAGER, "JobRemoved", "uoss", (number, f"/job/{number}", unit, result))


def systemd(path: Path, answers: Answers) -> tuple[Systemd, Peer]:
    peer = Peer(path / "private", answers)
    return Systemd(lambda: Connection(str(peer.path), bus=False)), peer


def test_a_scope_is_started_when_its_own_job_is_done(tmp_path: Path) -> None:
    def answers(message: Message) -> list[Message]:
        # The end of the job may be told before its name.
        return [removed(1, "other.scope"), removed(2, "x.scope"), new_method_return(message, "o", ("/job/2",))]

    manager, peer = systemd(tmp_path, answers)
    assert manager.start_scope("x.scope", [7, 8], [("Delegate", ("b", True)), ("MemoryMax", ("t", 1 << 63))])
    assert peer.first.startswith(b"\0AUTH EXTERNAL ")
    ((name, body),) = peer.heard
    wanted = [("Delegate", ("b", True)), ("MemoryMax", ("t", 1 << 63)), ("PIDs", ("au", [7, 8]))]
    assert (name, body) == ("StartTransientUnit", ("x.scope", "fail", wanted, []))


def test_a_job_that_fails_is_told(tmp_path: Path) -> None:
    manager, _ = systemd(
        tmp_path, lambda message: [new_method_return(message, "o", ("/job/3",)), removed(3, "x.scope", "timeout")]
    )
    with pytest.raises(CgroupError, match=r"StartTransientUnit.* ended as 'timeout'"):
        manager.start_scope("x.scope", [7], [])


def test_a_scope_that_is_active_is_not_started_again(tmp_path: Path) -> None:
    def answers(message: Message) -> list[Message]:
        if member(message) == "StartTransientUnit":
            return [new_error(message, "org.freedesktop.systemd1.UnitExists", "s", ("it exists",))]
        if member(message) == "GetUnit":
            return [new_method_return(message, "o", ("/unit/x",))]
        return [new_method_return(message, "v", (("s", "active"),))]

    manager, peer = systemd(tmp_path, answers)
    assert not manager.start_scope("x.scope", [7], [])
    assert [name for name, _ in peer.heard] == ["StartTransientUnit", "GetUnit", "Get"]


def test_what_systemd_does_not_know_any_more_is_stopped(tmp_path: Path) -> None:
    manager, _ = systemd(
        tmp_path, lambda message: [new_error(message, "org.freedesktop.systemd1.NoSuchUnit", "s", ("not loaded",))]
    )
    manager.stop("x.scope")
    manager.set_properties("x.scope", [("TasksMax", ("t", 5))])


@pytest.mark.parametrize(("answer", "group"), [("/", ""), ("/user.slice/user@0.service", "/user.slice/user@0.service")])
def test_where_the_managers_units_are(tmp_path: Path, answer: str, group: str) -> None:
    manager, _ = systemd(tmp_path, lambda message: [new_method_return(message, "v", (("s", answer),))])
    assert manager.control_group() == group


def test_errors_have_the_peers_name_and_words(tmp_path: Path) -> None:
    peer = Peer(tmp_path / "s", lambda message: [new_error(message, "x.NoSuchUnit", "s", ("no such unit",))])
    bus = Connection(str(peer.path), bus=False)
    with pytest.raises(BusError, match=r"x\.NoSuchUnit: no such unit") as caught:
        bus.call("d.e", "/", "i.f", "Stop")
    assert caught.value.name == "x.NoSuchUnit"
    bus.close()


def test_a_bus_is_greeted_and_asked_for_signals(tmp_path: Path) -> None:
    peer = Peer(tmp_path / "s", lambda message: [new_method_return(message)])
    bus = Connection(str(peer.path), bus=True)
    bus.listen("i.f", "JobRemoved")
    bus.close()
    assert [name for name, _ in peer.heard] == ["Hello", "AddMatch"]


def test_a_peer_that_hangs_up_is_told(tmp_path: Path) -> None:
    def answers(message: Message) -> list[Message]:
        raise ConnectionAbortedError

    bus = Connection(str(Peer(tmp_path / "s", answers).path), bus=False)
    with pytest.raises(BusError, match="Stop: "):
        bus.call("d.e", "/", "i.f", "Stop")
    bus.close()


def test_who_is_refused_or_finds_nobody_is_told(tmp_path: Path) -> None:
    refusing = Peer(tmp_path / "s", lambda message: [], greeting=b"REJECTED EXTERNAL\r\n")
    with pytest.raises(BusError, match="authentication refused: REJECTED"):
        Connection(str(refusing.path), bus=False)
    with pytest.raises(BusError, match="nobody"):
        Connection(str(tmp_path / "nobody"), bus=False)
