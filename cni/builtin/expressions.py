"""Expressions of nftables rules: what a rule looks at, compares and does (linux/netfilter/nf_tables.h). Pure.

Registers: the kernel has sixteen 4-byte registers; `REG32 + n` is the n-th of them. A value that is longer than 4 bytes
lies in consecutive ones, which is how concatenated keys (`meta l4proto . th dport`) are put together.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from cni.builtin.netlink import attribute, nested, text

REG1: Final = 1
REG32: Final = 8


class Meta(IntEnum):
    IIFNAME = 6
    OIFNAME = 7
    NFPROTO = 15
    L4PROTO = 16


class Comparison(IntEnum):
    EQ = 0
    NEQ = 1


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFF_FFFF))


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


def data(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(1, value))


def meta(key: Meta, register: int = REG1) -> bytes:
    return _expression("meta", _be32(2, key), _be32(1, register))


def compare(value: bytes, operator: Comparison = Comparison.EQ, register: int = REG1) -> bytes:
    return _expression("cmp", _be32(1, register), _be32(2, operator), data(3, value))


def masked(mask: bytes, register: int = REG1) -> bytes:
    parts = (_be32(1, register), _be32(2, register), _be32(3, len(mask)), data(4, mask), data(5, bytes(len(mask))))
    return _expression("bitwise", *parts)


def network_header(offset: int, length: int, register: int = REG1) -> bytes:
    return _expression("payload", _be32(1, register), _be32(2, 1), _be32(3, offset), _be32(4, length))


def transport_header(offset: int, length: int, register: int = REG1) -> bytes:
    return _expression("payload", _be32(1, register), _be32(2, 2), _be32(3, offset), _be32(4, length))


def destination_type(register: int = REG1) -> bytes:
    """`fib daddr type`: an RTN_* number in host byte order."""
    return _expression("fib", _be32(1, register), _be32(2, 3), _be32(3, 1 << 1))


def connection_state(register: int = REG1) -> bytes:
    return _expression("ct", _be32(2, 0), _be32(1, register))


def connection_status(register: int = REG1) -> bytes:
    return _expression("ct", _be32(2, 2), _be32(1, register))


def lookup(name: str, source: int, target: int) -> bytes:
    """Replace the key at `source` by the map's value at `target`; the rule ends where there is none."""
    return _expression("lookup", text(1, name), _be32(2, source), _be32(3, target))


def destination_nat(family: int, address: int, port: int) -> bytes:
    """`dnat` to the address and port in these registers."""
    parts = (_be32(1, 1), _be32(2, family), _be32(3, address), _be32(5, port))
    return _expression("nat", *parts)


def masquerade() -> bytes:
    return _expression("masq")


def verdict(code: int, chain: str = "") -> bytes:
    parts = [_be32(1, code)]
    if chain:
        parts.append(text(2, chain))
    return _expression("immediate", _be32(1, 0), nested(2, nested(2, *parts)))


def jump(chain: str) -> bytes:
    return verdict(-3, chain)


def drop() -> bytes:
    return verdict(0)


def name_bytes(interface: str) -> bytes:
    return interface.encode().ljust(16, b"\0")
