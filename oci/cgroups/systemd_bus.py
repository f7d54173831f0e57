"""A D-Bus connection to systemd: to its own socket, where the peer is systemd, or to a message bus.

jeepney makes and reads the messages; it is loaded here and nowhere else, when systemd is first spoken to. The socket is
ours: jeepney's own connections greet a bus, which systemd's socket is not. Blocking, with a limit on every wait.
Signals that arrive while an answer is awaited are kept for `wait_signal`.
"""

from __future__ import annotations

import os
import socket
import time

from jeepney import DBusAddress, HeaderFields, Message, MessageType, Parser, new_method_call

from oci.errors import BusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_BUS: Final = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_PATIENCE: Final = 25.0  # what other clients wait as well
_READ: Final = 64 << 10


class Connection:
    def __init__(self, path: str, *, bus: bool) -> None:
        """`bus`: the socket is a message bus's, which wants a greeting; else it is the service's own."""
        self._path = path
        self.bus = bus
        self._serial = 0
        self._parser = Parser()
        self._signals: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_PATIENCE)
        try:
            self._socket.connect(path)
            self._authenticate()
            if bus:
                self.call(*_BUS, "Hello")
        except BaseException as error:
            self._socket.close()
            if isinstance(error, OSError):
                raise BusError("", f"{path}: {error.strerror or error}") from error
            raise

    def close(self) -> None:
        self._socket.close()

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *body: object
    ) -> tuple[Any, ...]:
        """The answer's values, a variant as (signature, value). Raises BusError."""
        self._serial += 1
        serial = self._serial
        peer = DBusAddress(path, bus_name=destination, interface=interface)
        message = new_method_call(peer, member, signature or None, body)
        try:
            self._socket.sendall(message.serialise(serial=serial))
            while True:
                answer = self._receive()
                if answer.header.message_type is MessageType.signal:
                    self._signals.append(answer)
                elif answer.header.fields.get(HeaderFields.reply_serial) == serial:
                    break
        except OSError as error:
            raise BusError("", f"{self._path}: {member}: {error.strerror or error}") from error
        if answer.header.message_type is MessageType.error:
            name = str(answer.header.fields.get(HeaderFields.error_name, "unknown error"))
            raise BusError(name, str(answer.body[0]) if answer.body else member)
        return tuple(answer.body)

    def listen(self, interface: str, member: str) -> None:
        """A message bus delivers only the signals that were asked for; a service's own socket, all."""
        if self.bus:
            self.call(*_BUS, "AddMatch", "s", f"type='signal',interface='{interface}',member='{member}'")

    def wait_signal(self, member: str, wanted: Callable[[tuple[Any, ...]], bool]) -> tuple[Any, ...]:
        """The values of the first signal of that name that is wanted, arrived already or still to come."""
        deadline = time.monotonic() + _PATIENCE
        try:
            while True:
                for signal in self._signals:
                    if signal.header.fields.get(HeaderFields.member) == member and wanted(tuple(signal.body)):
                        return tuple(signal.body)
                self._signals = []
                message = self._receive()
                if message.header.message_type is MessageType.signal:
                    self._signals.append(message)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no {member} within {_PATIENCE:.0f} s")
        except OSError as error:
            raise BusError("", f"{self._path}: {error.strerror or error}") from error

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
        while (message := self._parser.get_next_message()) is None:
            data = self._socket.recv(_READ)
            if not data:
                raise ConnectionResetError(104, "the peer closed the connection")
            self._parser.add_data(data)
        return message
