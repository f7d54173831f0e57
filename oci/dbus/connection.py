"""A D-Bus connection: to a service's own socket, where the peer is the service, or to a message bus.

Blocking, with a limit on every wait. Signals that arrive while an answer is awaited are kept for `wait_signal`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from oci.dbus import wire
from oci.dbus.wire import Kind, Message, WireError

_BUS: Final = "org.freedesktop.DBus"
_PATIENCE: Final = 25.0  # what other clients wait as well


class BusError(Exception):
    """The peer answered with an error (`name`), or cannot be spoken to (`name` is empty)."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}" if name else message)
        self.name = name
        self.message = message


class Connection:
    def __init__(self, path: str, *, bus: bool) -> None:
        """`bus`: the socket is a message bus's, which wants a greeting; else it is the service's own."""
        self._path = path
        self.bus = bus
        self._serial = 0
        self._signals: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_PATIENCE)
        try:
            self._socket.connect(path)
            self._authenticate()
            if bus:
                self.call(_BUS, "/org/freedesktop/DBus", _BUS, "Hello")
        except BaseException as error:
            self._socket.close()
            if isinstance(error, OSError):
                raise BusError("", f"{path}: {error.strerror or error}")
            raise

    def close(self) -> None:
        self._socket.close()

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *body: object
    ) -> tuple[Any, ...]:
        """The answer's values. Raises BusError."""
        self._serial += 1
        serial = self._serial
        message = wire.call(
            serial,
            path=path,
            interface=interface,
            member=member,
            destination=destination,
            signature=signature,
            body=body,
        )
        try:
            self._socket.sendall(message)
            while True:
                answer = self._receive()
                if answer.kind == Kind.SIGNAL:
                    self._signals.append(answer)
                elif answer.reply_to == serial:
                    break
        except OSError as error:
            raise BusError("", f"{self._path}: {member}: {error.strerror or error}")
        if answer.kind == Kind.ERROR:
            raise BusError(answer.error, str(answer.body[0]) if answer.body else member)
        return answer.body

    def listen(self, interface: str, member: str) -> None:
        """A message bus delivers only the signals that were asked for; a service's own socket, all."""
        if self.bus:
            rule = f"type='signal',interface='{interface}',member='{member}'"
            self.call(_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch", "s", rule)

    def wait_signal(self, member: str, wanted: Callable[[tuple[Any, ...]], bool]) -> tuple[Any, ...]:
        """The values of the first signal of that name that is wanted, arrived already or still to come."""
        deadline = time.monotonic() + _PATIENCE
        try:
            while True:
                for signal in self._signals:
                    if signal.member == member and wanted(signal.body):
                        return signal.body
                self._signals = []
                message = self._receive()
                if message.kind == Kind.SIGNAL:
                    self._signals.append(message)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no {member} within {_PATIENCE:.0f} s")
        except OSError as error:
            raise BusError("", f"{self._path}: {error.strerror or error}")

    def _authenticate(self) -> None:
        """As the user whom the socket says we are (D-Bus specification, "Authentication Protocol").

        BEGIN goes with the first line: behind a BEGIN that comes alone, systemd may read our first call along with it
        and look at it only when more arrives.
        """
        identity = str(os.geteuid()).encode().hex()
        self._socket.sendall(b"\0AUTH EXTERNAL " + identity.encode() + b"\r\nBEGIN\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            part = self._socket.recv(1)
            if not part:
                raise BusError("", f"{self._path}: closed while authenticating")
            answer += part
        if not answer.startswith(b"OK "):
            raise BusError("", f"{self._path}: authentication refused: {answer.decode('utf-8', 'replace').strip()}")

    def _receive(self) -> Message:
        prefix = self._exactly(wire.PREFIX)
        try:
            return wire.parse(prefix + self._exactly(wire.total_length(prefix) - wire.PREFIX))
        except WireError as error:
            raise BusError("", f"{self._path}: {error}")

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            if not part:
                raise ConnectionResetError(104, "the peer closed the connection")
            data += part
        return bytes(data)
