"""Answers put together from messages that are serialized already: protobuf's framing of field 1, the repeated one."""

from __future__ import annotations


def item(message: bytes) -> bytes:
    """One element of a list answer whose field 1 repeats the messages."""
    return b"\x0a" + _varint(len(message)) + message


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
