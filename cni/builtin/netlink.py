"""Netlink messages and a plain blocking socket. Owns the framing; knows no family's message bodies.

A request is a tuple of frozen `Message`s; `NetlinkSocket.transact` sends them in one datagram and collects one
acknowledgement each, so a whole pod costs two system calls per socket. The kernel handles the messages of a datagram
in order and goes on after a failed one; the first failure is raised.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from cni.errors import NetlinkError
from oci.values import frozen

# linux/netlink.h
NLM_F_REQUEST: Final = 0x001
NLM_F_ACK: Final = 0x004
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
_NLM_F_CAPPED: Final = 0x100
_NLM_F_ACK_TLVS: Final = 0x200
_NLMSGERR_ATTR_MSG: Final = 1
_NLA_TYPE_MASK: Final = 0x3FFF
NLA_F_NESTED: Final = 0x8000
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_RECEIVE_BYTES: Final = 1 << 16
_RECEIVE_SECONDS: Final = 20.0


@frozen
class Message:
    """`step` names what is asked of the kernel, for the error. `tolerate` lists errno values that count as done."""

    step: str
    kind: int
    body: bytes
    flags: int = 0
    tolerate: tuple[int, ...] = ()
    acknowledged: bool = True


def attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
    """The (type, payload) pairs of a run of attributes; a length that does not fit ends it."""
    view = memoryview(data)
    while len(view) >= 4:
        length, kind = _ATTRIBUTE.unpack_from(view)
        if length < 4 or length > len(view):
            return
        yield kind & _NLA_TYPE_MASK, bytes(view[4:length])
        view = view[(length + 3) & ~3 :]


def messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The (type, flags, sequence, body) of each message in a received datagram."""
    view = memoryview(datagram)
    while len(view) >= _HEADER.size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(view)
        if length < _HEADER.size or length > len(view):
            return
        yield kind, flags, sequence, bytes(view[_HEADER.size : length])
        view = view[(length + 3) & ~3 :]


def encode(message: Message, sequence: int) -> bytes:
    flags = message.flags | NLM_F_REQUEST | (NLM_F_ACK if message.acknowledged else 0)
    header = _HEADER.pack(_HEADER.size + len(message.body), message.kind, flags, sequence, 0)
    return header + message.body + b"\0" * (-len(message.body) % 4)


def _failure(flags: int, body: bytes) -> tuple[int, str]:
    """(errno, kernel's own message) of an NLMSG_ERROR body; errno 0 is an acknowledgement."""
    (code,) = struct.unpack_from("=i", body)
    if not flags & _NLM_F_ACK_TLVS:
        return -code, ""
    offset = 4 + _HEADER.size
    if not flags & _NLM_F_CAPPED:
        (length,) = struct.unpack_from("=I", body, 4)
        offset = 4 + ((length + 3) & ~3)
    for kind, payload in attributes(body[offset:]):
        if kind == _NLMSGERR_ATTR_MSG:
            return -code, payload.rstrip(b"\0").decode(errors="replace")
    return -code, ""


class NetlinkSocket:
    """A blocking netlink socket; not for use by two threads at once. It stays in the namespace it was opened in."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            self._socket.settimeout(_RECEIVE_SECONDS)
            self._socket.bind((0, 0))
        except OSError:
            self._socket.close()
            raise
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def transact(self, requests: Sequence[Message]) -> None:
        """Send all requests at once, wait for each one's acknowledgement, raise the first failure."""
        if not requests:
            return
        waiting: dict[int, Message] = {}
        encoded = []
        for request in requests:
            self._sequence += 1
            encoded.append(encode(request, self._sequence))
            if request.acknowledged:
                waiting[self._sequence] = request
        self._socket.send(b"".join(encoded))
        failure: NetlinkError | None = None
        while waiting:
            for kind, flags, sequence, body in messages(self._receive(next(iter(waiting.values())).step)):
                request_ = waiting.pop(sequence, None) if kind == NLMSG_ERROR else None
                if request_ is None:
                    continue
                number, detail = _failure(flags, body)
                if number and number not in request_.tolerate and failure is None:
                    failure = NetlinkError(request_.step, number, detail)
        if failure is not None:
            raise failure

    def query(self, request: Message) -> list[bytes]:
        """The bodies of the answers to one GET request (a dump when the request carries NLM_F_DUMP)."""
        self._sequence += 1
        self._socket.send(encode(request, self._sequence))
        answers: list[bytes] = []
        while True:
            for kind, flags, sequence, body in messages(self._receive(request.step)):
                if sequence != self._sequence:
                    continue
                if kind == NLMSG_DONE:
                    return answers
                if kind != NLMSG_ERROR:
                    answers.append(body)
                    continue
                number, detail = _failure(flags, body)
                if number and number not in request.tolerate:
                    raise NetlinkError(request.step, number, detail)
                return answers

    def _receive(self, step: str) -> bytes:
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except OSError as error:  # ETIMEDOUT: settimeout's own error carries no errno
            number = error.errno or 110
            raise NetlinkError(step, number, os.strerror(number)) from error
