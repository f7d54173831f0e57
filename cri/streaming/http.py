"""The HTTP/1.1 request that opens a stream, by h11: one request, and its answer: an upgrade or a refusal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import h11

from cri.streaming.errors import ProtocolError, Refused
from oci.values import frozen

MAX_HEAD: Final = 16 << 10
_MAX_BODY: Final = 64 << 10


@frozen
class Request:
    """`headers` have lower-case names, in the order in which they came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> tuple[str, ...]:
        """All values of a header that is a list, whether in one line or in several."""
        texts = (value for header, value in self.headers if header == name)
        return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())

    def has(self, name: str, value: str) -> bool:
        """Without regard to case."""
        return value.lower() in (text.lower() for text in self.values(name))


class Exchange:
    """One request and its answer."""

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request: Request | None = None
        self._body = 0

    def receive(self, data: bytes) -> Request | None:
        """The request once it is complete. Raises Refused; ProtocolError when there is nobody to answer."""
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return None
                if isinstance(event, h11.Request):
                    self._request = _request(event)
                elif isinstance(event, h11.Data):
                    self._body += len(event.data)
                    if self._body > _MAX_BODY:
                        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request has a body")
                elif isinstance(event, h11.EndOfMessage):
                    return self._request
                elif isinstance(event, h11.ConnectionClosed):
                    raise ProtocolError("http", "client closed the connection before its request was complete")
        except h11.RemoteProtocolError as error:
            raise Refused(HTTPStatus(error.error_status_hint), str(error)) from None

    def upgrade(self, headers: Mapping[str, str]) -> tuple[bytes, bytes]:
        """The answer that switches protocols, and what the client has sent in the new one already."""
        response = h11.InformationalResponse(
            status_code=101, headers=list(headers.items()), reason="Switching Protocols"
        )
        data = self._connection.send(response)
        return data or b"", self._connection.trailing_data[0]

    def refuse(self, refused: Refused) -> bytes:
        body = f"{refused.problem}\n".encode()
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **refused.headers,
        }
        response = h11.Response(status_code=refused.status, headers=list(headers.items()), reason=refused.status.phrase)
        events = (response, h11.Data(data=body), h11.EndOfMessage())
        try:
            return b"".join(self._connection.send(event) or b"" for event in events)
        except h11.LocalProtocolError:
            return b""  # an answer is under way already, or the connection is closed


def _request(event: h11.Request) -> Request:
    return Request(
        method=event.method.decode("latin-1"),
        target=event.target.decode("latin-1"),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers),
    )
