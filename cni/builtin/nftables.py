"""nftables messages: tables, chains, maps, rules and their expressions (linux/netfilter/nf_tables.h). Pure.

Registers: the kernel has sixteen 4-byte registers; `REG32 + n` is the n-th of them. A value that is longer than 4 bytes
lies in consecutive ones, which is how concatenated keys (`meta l4proto . th dport`) are put together.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cni.builtin.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Message,
    attribute,
    attributes,
    nested,
    text,
)

NETLINK_NETFILTER: Final = 12
NFPROTO_INET: Final = 1
_SUBSYSTEM: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN: Final = 16
_BATCH_END: Final = 17
NEWTABLE: Final = _SUBSYSTEM | 0
_GETTABLE: Final = _SUBSYSTEM | 1
_DELTABLE: Final = _SUBSYSTEM | 2
_NEWCHAIN: Final = _SUBSYSTEM | 3
NEWRULE: Final = _SUBSYSTEM | 6
_NEWSET: Final = _SUBSYSTEM | 9
_NEWSETELEM: Final = _SUBSYSTEM | 12
_GETSETELEM: Final = _SUBSYSTEM | 13
_DELSETELEM: Final = _SUBSYSTEM | 14

REG1: Final = 1
REG32: Final = 8
_SET_MAP: Final = 0x8
_UDATA_COMMENT: Final = 0


class Hook(IntEnum):
    PREROUTING = 0
    INPUT = 1
    OUTPUT = 3
    POSTROUTING = 4


class Meta(IntEnum):
    IIFNAME = 6
    OIFNAME = 7
    NFPROTO = 15
    L4PROTO = 16


class Comparison(IntEnum):
    EQ = 0
    NEQ = 1


class Key(IntEnum):
    """Data types of the nft tool; the kernel only stores them."""

    IPV4_ADDRESS = 7
    IPV6_ADDRESS = 8
    INET_PROTOCOL = 12
    INET_SERVICE = 13


def concatenated(*keys: Key) -> int:
    kind = 0
    for key in keys:
        kind = kind << 6 | key
    return kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One entry of a map. `comment` is what the nft tool prints and what ties the entry to its pod."""

    key: bytes
    data: bytes
    comment: str


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFF_FFFF))


def _header(family: int = NFPROTO_INET, resource: int = 0) -> bytes:
    return struct.pack(">BBH", family, 0, resource)


def batch(requests: Iterable[Message]) -> list[Message]:
    """The requests as one transaction: all of them or none."""
    edge = _header(0, _SUBSYSTEM >> 8)
    begin = Message(step="begin a ruleset change", kind=_BATCH_BEGIN, body=edge, acknowledged=False)
    end = Message(step="end a ruleset change", kind=_BATCH_END, body=edge, acknowledged=False)
    return [begin, *requests, end]


# --- expressions --------------------------------------------------------------------------------------------------


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


def _data(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(1, value))


def meta(key: Meta, register: int = REG1) -> bytes:
    return _expression("meta", _be32(2, key), _be32(1, register))


def compare(value: bytes, operator: Comparison = Comparison.EQ, register: int = REG1) -> bytes:
    return _expression("cmp", _be32(1, register), _be32(2, operator), _data(3, value))


def masked(mask: bytes, register: int = REG1) -> bytes:
    parts = (_be32(1, register), _be32(2, register), _be32(3, len(mask)), _data(4, mask), _data(5, bytes(len(mask))))
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


# --- objects ------------------------------------------------------------------------------------------------------


def add_table(table: str) -> Message:
    body = _header() + text(1, table) + _be32(2, 0)
    return Message(step=f"add nftables table {table}", kind=NEWTABLE, body=body, flags=NLM_F_CREATE)


def delete_table(table: str) -> Message:
    body = _header() + text(1, table)
    return Message(step=f"delete nftables table {table}", kind=_DELTABLE, body=body)


def get_table(table: str) -> Message:
    body = _header() + text(1, table)
    step = f"look up nftables table {table}"
    return Message(step=step, kind=_GETTABLE, body=body, tolerate=(errno.ENOENT,))


def add_chain(table: str, chain: str) -> Message:
    body = _header() + text(1, table) + text(3, chain)
    return Message(step=f"add nftables chain {chain}", kind=_NEWCHAIN, body=body, flags=NLM_F_CREATE)


def add_hook(table: str, chain: str, kind: str, hook: Hook, priority: int) -> Message:
    """A base chain: packets enter it at `hook`."""
    place = nested(4, _be32(1, hook), _be32(2, priority))
    body = _header() + text(1, table) + text(3, chain) + place + text(7, kind)
    return Message(step=f"add nftables chain {chain}", kind=_NEWCHAIN, body=body, flags=NLM_F_CREATE)


def add_rule(table: str, chain: str, *expressions: bytes) -> Message:
    body = _header() + text(1, table) + text(2, chain) + nested(4, *expressions)
    flags = NLM_F_CREATE | NLM_F_APPEND
    return Message(step=f"add rule to nftables chain {chain}", kind=NEWRULE, body=body, flags=flags)


def add_map(table: str, name: str, identity: int, key: tuple[int, int], data: tuple[int, int]) -> Message:
    """`key` and `data` are (type, length); `identity` tells this transaction's maps apart."""
    body = b"".join([
        _header(), text(1, table), text(2, name), _be32(3, _SET_MAP), _be32(4, key[0]), _be32(5, key[1]),
        _be32(6, data[0]), _be32(7, data[1]), _be32(10, identity),
    ])  # fmt: skip
    return Message(step=f"add nftables map {name}", kind=_NEWSET, body=body, flags=NLM_F_CREATE)


def add_elements(step: str, table: str, name: str, elements: Iterable[Element]) -> Message:
    """The kernel refuses a key that is there already (EEXIST)."""
    entries = [nested(1, _data(1, e.key), _data(2, e.data), attribute(6, _comment(e.comment))) for e in elements]
    body = _header() + text(1, table) + text(2, name) + nested(3, *entries)
    return Message(step=step, kind=_NEWSETELEM, body=body, flags=NLM_F_CREATE | NLM_F_EXCL)


def delete_elements(table: str, name: str, keys: Iterable[bytes]) -> Message:
    entries = [nested(1, _data(1, key)) for key in keys]
    body = _header() + text(1, table) + text(2, name) + nested(3, *entries)
    return Message(step=f"delete elements of nftables map {name}", kind=_DELSETELEM, body=body)


def dump_elements(table: str, name: str) -> Message:
    body = _header() + text(1, table) + text(2, name)
    step = f"list nftables map {name}"
    return Message(
        step=step, kind=_GETSETELEM, body=body, flags=NLM_F_DUMP, tolerate=(errno.ENOENT,), acknowledged=False
    )


def _comment(comment: str) -> bytes:
    encoded = comment.encode()[:127] + b"\0"
    return struct.pack("BB", _UDATA_COMMENT, len(encoded)) + encoded


def parse_elements(bodies: Iterable[bytes]) -> Iterator[Element]:
    """The entries in the answers to `dump_elements`."""
    for body in bodies:
        for kind, entries in attributes(body[4:]):
            if kind != 3:
                continue
            for _, entry in attributes(entries):
                yield _parse_element(dict(attributes(entry)))


def _parse_element(found: dict[int, bytes]) -> Element:
    userdata = found.get(6, b"")
    comment = userdata[2 : 2 + userdata[1]].rstrip(b"\0").decode(errors="replace") if len(userdata) > 2 else ""
    return Element(key=_value(found.get(1, b"")), data=_value(found.get(2, b"")), comment=comment)


def _value(data: bytes) -> bytes:
    return dict(attributes(data)).get(1, b"")


# --- connection tracking ------------------------------------------------------------------------------------------

_CT_DELETE: Final = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_FILTER_PROTOCOL: Final = 1 << 3
_FILTER_DESTINATION_PORT: Final = 1 << 5


def forget_flows(family: int, protocol: int, destination_port: int) -> Message:
    """Delete tracked flows to a host port: a flow keeps the translation (or none) that it began with."""
    ports = nested(2, attribute(1, bytes([protocol])), attribute(3, struct.pack(">H", destination_port)))
    chosen = struct.pack("=I", _FILTER_PROTOCOL | _FILTER_DESTINATION_PORT)
    body = _header(family) + nested(1, ports) + nested(25, attribute(1, chosen), attribute(2, bytes(4)))
    step = f"forget flows to port {destination_port}"
    return Message(step=step, kind=_CT_DELETE, body=body, tolerate=(errno.ENOENT,))


IPV4: Final = socket.AF_INET
IPV6: Final = socket.AF_INET6
