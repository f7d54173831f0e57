"""Protocol Buffers' wire format, as far as CRIU's messages need it: varints and length-delimited fields. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from oci.checkpoint.errors import MalformedAnswer

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT: Final = 10

Value: TypeAlias = "bool | int | str | bytes"
Fields: TypeAlias = dict[int, list[int | bytes]]


def encode(fields: Iterable[tuple[int, Value]]) -> bytes:
    """Numbers and values in the order given; a nested message is its bytes."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3 | _VARINT) + _varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | _BYTES) + _varint(len(content)) + content
    return bytes(out)


def decode(data: bytes) -> Fields:
    """Every field by its number, in the order it came; fixed-size ones as bytes. Raises MalformedAnswer."""
    fields: Fields = {}
    place = 0
    while place < len(data):
        key, place = _read_varint(data, place)
        kind = key & 7
        value: int | bytes
        if kind == _VARINT:
            value, place = _read_varint(data, place)
        else:
            if kind == _BYTES:
                size, place = _read_varint(data, place)
            elif kind in _SIZES:
                size = _SIZES[kind]
            else:
                raise MalformedAnswer(f"wire type {kind}")
            value = data[place : place + size]
            if len(value) != size:
                raise MalformedAnswer(f"field {key >> 3} ends after {len(value)} of {size} bytes")
            place += size
        fields.setdefault(key >> 3, []).append(value)
    return fields


def number(fields: Fields, key: int, default: int = 0) -> int:
    """The last value of a field, as a signed 64-bit number."""
    value = fields.get(key, [default])[-1]
    if not isinstance(value, int):
        raise MalformedAnswer(f"field {key} is not a number")
    return value - (1 << 64) if value >> 63 else value


def message(fields: Fields, key: int) -> Fields | None:
    value = fields.get(key, [None])[-1]
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise MalformedAnswer(f"field {key} is not a message")
    return decode(value)


def text(fields: Fields, key: int) -> str:
    value = fields.get(key, [b""])[-1]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _varint(value: int) -> bytes:
    """Negative numbers take all 64 bits, as the format has it for int32 and int64."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT):
        if place + index >= len(data):
            raise MalformedAnswer("a number is cut off")
        byte = data[place + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & (1 << 64) - 1, place + index + 1
    raise MalformedAnswer("a number is longer than 64 bits")
