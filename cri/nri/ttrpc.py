"""ttrpc (version 1.2, unary calls), as sans-IO: a `Caller` and an `Answerer`, each for one end of one connection.

    message   length (4, big-endian) | stream (4, big-endian) | type (1) | flags (1) | that many bytes

A call is one stream: a request with a new odd number, greater than those before, then one response with the same. A
message that is too long, or a streaming call, fails that call and not the connection: its bytes are skipped.
"""

from __future__ import annotations

import struct
from typing import Final

from google.protobuf.message import DecodeError

from cri.nri.api import ttrpc_pb2 as wire
from cri.nri.errors import ProtocolError
from oci.values import frozen

LONGEST_MESSAGE: Final = 4 << 20

_HEADER: Final = struct.Struct(">IIBB")
_REQUEST, _RESPONSE, _DATA = 1, 2, 3

#: gRPC's status codes, as far as they are used here.
OK, UNKNOWN, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 2, 3, 8, 12, 13


@frozen
class Request:
    stream: int
    service: str
    method: str
    payload: bytes
    timeout_ns: int = 0


@frozen
class Response:
    """`code` is a gRPC status code; with any but OK there is a `text` instead of a `payload`."""

    stream: int
    code: int = OK
    text: str = ""
    payload: bytes = b""


class MessageTooLong(ValueError):
    """`length` bytes would have to be sent at once: the caller may split what it says."""

    def __init__(self, length: int) -> None:
        super().__init__(f"a message of {length} bytes, the longest allowed has {LONGEST_MESSAGE}")
        self.length = length


@frozen
class _Message:
    stream: int
    type: int
    flags: int
    data: bytes
    too_long: bool = False


class _Reader:
    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0

    def receive(self, data: bytes) -> list[_Message]:
        self._buffer += data
        messages: list[_Message] = []
        while True:
            skipped = min(self._skip, len(self._buffer))
            del self._buffer[:skipped]
            self._skip -= skipped
            if self._skip or len(self._buffer) < _HEADER.size:
                return messages
            length, stream, kind, flags = _HEADER.unpack_from(self._buffer)
            if length > LONGEST_MESSAGE:
                messages.append(_Message(stream=stream, type=kind, flags=flags, data=b"", too_long=True))
                self._skip = _HEADER.size + length
                continue
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return messages
            body = bytes(self._buffer[_HEADER.size : end])
            messages.append(_Message(stream=stream, type=kind, flags=flags, data=body))
            del self._buffer[:end]


def _pack(stream: int, kind: int, data: bytes) -> bytes:
    if len(data) > LONGEST_MESSAGE:
        raise MessageTooLong(len(data))
    return _HEADER.pack(len(data), stream, kind, 0) + data


class Caller:
    """The end that opens streams."""

    def __init__(self) -> None:
        self._reader = _Reader()
        self._next = 1
        self._open: set[int] = set()

    def call(self, service: str, method: str, payload: bytes, timeout_ns: int = 0) -> tuple[int, bytes]:
        """The stream and the bytes to send. Raises MessageTooLong, and then nothing has happened."""
        request = wire.Request(service=service, method=method, payload=payload, timeout_nano=timeout_ns)
        stream = self._next
        data = _pack(stream, _REQUEST, request.SerializeToString())
        self._next += 2
        self._open.add(stream)
        return stream, data

    def forget(self, stream: int) -> None:
        """Nobody waits for this answer any more; should it come, it is ignored."""
        self._open.discard(stream)

    def receive(self, data: bytes) -> list[Response]:
        """Answers to calls that are still open. Raises ProtocolError."""
        responses = []
        for message in self._reader.receive(data):
            if message.stream not in self._open:
                continue
            self._open.discard(message.stream)
            responses.append(_response(message))
        return responses


def _response(message: _Message) -> Response:
    stream = message.stream
    if message.too_long:
        return Response(stream=stream, code=RESOURCE_EXHAUSTED, text="the answer is too long")
    if message.type != _RESPONSE:
        raise ProtocolError(f"a message of type {message.type} where an answer was due")
    try:
        response = wire.Response.FromString(message.data)
    except DecodeError as error:
        raise ProtocolError(f"an answer that is no ttrpc response: {error}") from error
    if response.status.code != OK:
        return Response(stream=stream, code=response.status.code, text=response.status.message)
    return Response(stream=stream, payload=response.payload)


class Answerer:
    """The end that is called."""

    def __init__(self) -> None:
        self._reader = _Reader()
        self._last = 0

    def receive(self, data: bytes) -> tuple[list[Request], bytes]:
        """The calls that are complete with `data`, and what is to be sent at once to calls that cannot be."""
        requests = []
        refusals = b""
        for message in self._reader.receive(data):
            outcome = self._request(message)
            if isinstance(outcome, Request):
                requests.append(outcome)
            else:
                refusals += self.answer(outcome)
        return requests, refusals

    def _request(self, message: _Message) -> Request | Response:
        stream = message.stream
        if message.too_long:
            return Response(stream=stream, code=RESOURCE_EXHAUSTED, text="the message is too long")
        if message.type != _REQUEST:
            return Response(stream=stream, code=INVALID_ARGUMENT, text="no such stream is open")
        if stream % 2 == 0 or stream <= self._last:
            return Response(stream=stream, code=INVALID_ARGUMENT, text="a new stream needs an odd, greater number")
        self._last = stream
        if message.flags:
            return Response(stream=stream, code=UNIMPLEMENTED, text="streaming calls are not served")
        try:
            request = wire.Request.FromString(message.data)
        except DecodeError as error:
            return Response(stream=stream, code=INVALID_ARGUMENT, text=f"no ttrpc request: {error}")
        return Request(
            stream=stream,
            service=request.service,
            method=request.method,
            payload=request.payload,
            timeout_ns=request.timeout_nano,
        )

    def answer(self, response: Response) -> bytes:
        """Raises MessageTooLong; an answer with another code can still be given then."""
        message = wire.Response(payload=response.payload)
        if response.code != OK:
            message.status.code = response.code
            message.status.message = response.text
        return _pack(response.stream, _RESPONSE, message.SerializeToString())
