"""A key stroke's way: client, streaming server, terminal, the program that answers it, and back.

The program is a `cat` on a raw terminal, so that every byte goes through the container and none is the terminal's echo.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, Request

from cri.api import runtime_pb2 as pb
from e2e.daemon import Daemon
from e2e.scale.report import Figure

_PROTOCOL = "v4.channel.k8s.io"
_STDIN, _STDOUT = b"\0", b"\1"


class Session:
    """One exec over a WebSocket: bytes in, bytes out."""

    def __init__(self, url: str, connection: socket.socket) -> None:
        self._socket = connection
        self._protocol = WSConnection(ConnectionType.CLIENT)
        parts = urlsplit(url)
        request = Request(host=parts.netloc, target=parts.path, subprotocols=[_PROTOCOL])
        self._socket.sendall(self._protocol.send(request))
        assert any(isinstance(event, AcceptConnection) for event in self._more())

    def send(self, data: bytes) -> None:
        self._socket.sendall(self._protocol.send(BytesMessage(data=_STDIN + data)))

    def read(self) -> bytes:
        """The next output."""
        while True:
            output = b"".join(
                bytes(event.data[1:])
                for event in self._more()
                if isinstance(event, BytesMessage) and event.data[:1] == _STDOUT
            )
            if output:
                return output

    def _more(self) -> list[object]:
        data = self._socket.recv(65536)
        if not data:
            raise EOFError("the streaming server closed the connection")
        self._protocol.receive_data(data)
        return list(self._protocol.events())


@contextmanager
def session(daemon: Daemon, container: str) -> Iterator[Session]:
    command = ["sh", "-c", "stty raw -echo; echo ready; exec cat"]
    request = pb.ExecRequest(container_id=container, cmd=command, tty=True, stdin=True, stdout=True)
    url = daemon.client.runtime.Exec(request, timeout=10).url
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened = Session(url, connection)
        said = b""
        while b"ready" not in said:
            said += opened.read()
        yield opened


def measure(daemon: Daemon, container: str, strokes: int) -> list[Figure]:
    samples = []
    with session(daemon, container) as terminal:
        for _ in range(strokes):
            began = time.perf_counter()
            terminal.send(b"k")
            while b"k" not in terminal.read():
                pass
            samples.append((time.perf_counter() - began) * 1000)
            time.sleep(0.005)  # nobody types without a pause
    samples.sort()
    return [
        Figure(title="echo of a key stroke p50", value=statistics.median(samples), unit="ms", goal=2),
        Figure(title="echo of a key stroke p99", value=samples[len(samples) * 99 // 100], unit="ms"),
    ]
