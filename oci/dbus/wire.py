"""D-Bus messages as bytes and back (D-Bus specification, "Type System" and "Message Protocol"). Pure.

Values are Python's own: int, bool, str, bytes for "ay", lists and tuples; a variant is (signature, value) when sent and
the bare value when received. Little endian is sent, both are read. Types that systemd's manager does not use (double,
descriptors, dictionaries to send) are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final

from oci.values import frozen

_INTEGERS: Final = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q"}
_ALIGNMENT: Final = {
    "y": 1, "b": 4, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8,
    "s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8,
}  # fmt: skip
#: The part that says how long a message is.
PREFIX: Final = 16
_LARGEST: Final = 1 << 27


class Kind(IntEnum):
    CALL = 1
    RETURN = 2
    ERROR = 3
    SIGNAL = 4


class WireError(Exception):
    """The bytes are no D-Bus message, or a value does not fit its signature."""


@frozen
class Message:
    kind: int
    serial: int
    reply_to: int = 0
    path: str = ""
    interface: str = ""
    member: str = ""
    error: str = ""
    body: tuple[Any, ...] = ()


_FIELDS: Final = {1: "path", 2: "interface", 3: "member", 4: "error", 5: "reply_to"}
_SIGNATURE_FIELD: Final = 8


def call(
    serial: int, *, path: str, interface: str, member: str, destination: str, signature: str, body: tuple[object, ...]
) -> bytes:
    """A method call that wants an answer."""
    fields: list[tuple[int, tuple[str, object]]] = [
        (1, ("o", path)),
        (2, ("s", interface)),
        (3, ("s", member)),
        (6, ("s", destination)),
    ]
    if signature:
        fields.append((_SIGNATURE_FIELD, ("g", signature)))
    content = _Writer()
    for one, value in zip(split(signature), body, strict=True):
        content.put(one, value)
    head = _Writer()
    head.buffer += struct.pack("<BBBBII", ord("l"), Kind.CALL, 0, 1, len(content.buffer), serial)
    head.put("a(yv)", fields)
    head.align(8)
    return bytes(head.buffer + content.buffer)


def total_length(prefix: bytes) -> int:
    """How long the message is that begins with these 16 bytes."""
    order = _order(prefix)
    body, _serial, fields = struct.unpack_from(f"{order}III", prefix, 4)
    if body > _LARGEST or fields > _LARGEST:
        raise WireError(f"a message of {body + fields} bytes")
    return int(PREFIX + (fields + 7) // 8 * 8 + body)


def parse(data: bytes) -> Message:
    order = _order(data)
    kind, (serial,) = data[1], struct.unpack_from(f"{order}I", data, 8)
    reader = _Reader(data, order, 12)
    named: dict[str, Any] = {}
    signature = ""
    for code, value in reader.take("a(yv)"):
        if code == _SIGNATURE_FIELD:
            signature = value
        elif code in _FIELDS:
            named[_FIELDS[code]] = value
    reader.align(8)
    return Message(kind=kind, serial=serial, body=tuple(reader.take(one) for one in split(signature)), **named)


def split(signature: str) -> Iterator[str]:
    """The complete types in a row: "ssa(sv)" gives s, s, a(sv)."""
    start = 0
    while start < len(signature):
        end = _end(signature, start)
        yield signature[start:end]
        start = end


def _end(signature: str, at: int) -> int:
    if at >= len(signature):
        raise WireError(f"signature {signature!r} ends too early")
    first = signature[at]
    if first == "a":
        return _end(signature, at + 1)
    if first in "({":
        closing = ")" if first == "(" else "}"
        at += 1
        while at < len(signature) and signature[at] != closing:
            at = _end(signature, at)
        if at >= len(signature):
            raise WireError(f"signature {signature!r} lacks {closing!r}")
    elif first not in _ALIGNMENT:
        raise WireError(f"signature {signature!r} has the unknown type {first!r}")
    return at + 1


def _order(data: bytes) -> str:
    if len(data) < PREFIX or data[:1] not in (b"l", b"B"):
        raise WireError("this is no D-Bus message")
    return "<" if data[:1] == b"l" else ">"


class _Writer:
    def __init__(self) -> None:
        self.buffer = bytearray()

    def align(self, size: int) -> None:
        self.buffer += bytes(-len(self.buffer) % size)

    def put(self, signature: str, value: Any) -> None:
        kind = signature[0]
        self.align(_ALIGNMENT[kind])
        try:
            if kind in _INTEGERS:
                self.buffer += struct.pack(f"<{_INTEGERS[kind]}", value)
            elif kind == "b":
                self.buffer += struct.pack("<I", bool(value))
            elif kind in "so":
                encoded = value.encode()
                self.buffer += struct.pack("<I", len(encoded)) + encoded + b"\0"
            elif kind == "g":
                self.buffer += struct.pack("B", len(value)) + value.encode("ascii") + b"\0"
            elif kind == "v":
                self.put("g", value[0])
                self.put(value[0], value[1])
            elif kind == "a":
                self._array(signature[1:], value)
            elif kind == "(":
                for one, item in zip(split(signature[1:-1]), value, strict=True):
                    self.put(one, item)
            else:
                raise WireError(f"values of type {signature!r} are not sent")
        except (struct.error, ValueError, AttributeError, TypeError) as error:
            raise WireError(f"{value!r} is not of type {signature!r}: {error}")

    def _array(self, of: str, items: Any) -> None:
        at = len(self.buffer)
        self.buffer += bytes(4)
        self.align(_ALIGNMENT[of[0]])
        start = len(self.buffer)
        if of == "y":
            self.buffer += bytes(items)
        else:
            for item in items:
                self.put(of, item)
        struct.pack_into("<I", self.buffer, at, len(self.buffer) - start)


class _Reader:
    def __init__(self, data: bytes, order: str, at: int) -> None:
        self._data = data
        self._order = order
        self._at = at

    def align(self, size: int) -> None:
        self._at += -self._at % size

    def take(self, signature: str) -> Any:
        kind = signature[0]
        self.align(_ALIGNMENT[kind])
        if kind in _INTEGERS:
            return self._number(_INTEGERS[kind])
        if kind == "b":
            return bool(self._number("I"))
        if kind == "d":
            return struct.unpack(f"{self._order}d", self._bytes(8))[0]
        if kind in "so":
            return self._text(self._number("I"))
        if kind == "g":
            return self._text(self._number("B"))
        if kind == "v":
            (inner,) = split(self.take("g"))
            return self.take(inner)
        if kind == "a":
            return self._array(signature[1:])
        return tuple(self.take(one) for one in split(signature[1:-1]))

    def _array(self, of: str) -> Any:
        length = self._number("I")
        self.align(_ALIGNMENT[of[0]])
        if of == "y":
            return self._bytes(length)
        end, items = self._at + length, []
        while self._at < end:
            items.append(self.take(of))
        return items

    def _number(self, code: str) -> int:
        return int(struct.unpack(f"{self._order}{code}", self._bytes(struct.calcsize(f"={code}")))[0])

    def _text(self, length: int) -> str:
        return self._bytes(length + 1)[:-1].decode("utf-8", "replace")

    def _bytes(self, length: int) -> bytes:
        data = self._data[self._at : self._at + length]
        if len(data) != length:
            raise WireError(f"the message ends {length - len(data)} bytes too early")
        self._at += length
        return data
