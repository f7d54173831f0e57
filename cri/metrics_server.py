"""Serves GET /metrics over HTTP from a thread of its own. Knows nothing of what is counted.

A scraper is not trusted to be quick: each connection has a thread and a time limit, and none touches the event loop.
One request a connection, and of it only the first line counts: the standard library's server would bring the mail
package along, and a scraper needs none of it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PATIENCE_S: Final = 10.0
_LONGEST_REQUEST: Final = 16 * 1024
#: Scrapers at one time; more of them wait in the listening socket.
_MOST: Final = 16


class MetricsServer:
    """Listens from construction on (OSError when the address cannot be had) until `close`."""

    def __init__(self, host: str, port: int, exposition: Callable[[], bytes]) -> None:
        self._exposition = exposition
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self._places = threading.BoundedSemaphore(_MOST)
        self._thread = threading.Thread(target=self._accept, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # ends the accept
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            self._places.acquire()
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(connection,), name="scrape", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_PATIENCE_S)
                connection.sendall(answer(_request(connection), self._exposition))
        except OSError:
            pass  # a scraper that hung up is no event of ours
        finally:
            self._places.release()


def _request(connection: socket.socket) -> bytes:
    """Everything before the empty line; b"" of somebody who sends no such thing, or too slowly."""
    deadline = time.monotonic() + _PATIENCE_S
    data = b""
    while b"\r\n\r\n" not in data and b"\n\n" not in data:
        more = connection.recv(4096)
        data += more
        if not more or len(data) > _LONGEST_REQUEST or time.monotonic() > deadline:
            return b""
    return data


def answer(request: bytes, exposition: Callable[[], bytes]) -> bytes:
    method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
    target, _, protocol = rest.partition(b" ")
    if not protocol.startswith(b"HTTP/1."):
        return _response("400 Bad Request", b"this is not an HTTP/1.1 request\n")
    if target.partition(b"?")[0] != b"/metrics":
        return _response("404 Not Found", b"metrics are at /metrics\n")
    if method not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", b"metrics can only be read\n")
    return _response("200 OK", exposition(), CONTENT_TYPE, head_only=method == b"HEAD")


def _response(status: str, body: bytes, kind: str = "text/plain; charset=utf-8", *, head_only: bool = False) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if head_only else body)
