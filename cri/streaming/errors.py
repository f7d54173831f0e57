"""What goes wrong between the streaming server and one client.

StreamingError
├── ProtocolError      the peer sent bytes that its protocol does not allow: the connection ends
├── Refused            an HTTP request that is answered with an error instead of an upgrade
├── Disconnected       the client went away while we worked for it
└── StreamsMissing     the client did not open the streams it had announced, in time
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus


class StreamingError(Exception):
    """Root of the tree; never raised itself."""


class ProtocolError(StreamingError):
    """`protocol` is spdy, websocket, http or remote command."""

    def __init__(self, protocol: str, problem: str) -> None:
        super().__init__(f"{protocol}: {problem}")
        self.protocol = protocol
        self.problem = problem


class Refused(StreamingError):
    """`headers` go with the answer."""

    def __init__(self, status: HTTPStatus, problem: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem
        self.headers = headers or {}


class StreamsMissing(StreamingError):
    def __init__(self, names: tuple[str, ...], seconds: float) -> None:
        super().__init__(f"client did not open its streams within {seconds:g} s: {', '.join(names)} missing")
        self.names = names
        self.seconds = seconds
