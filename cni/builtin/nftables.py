"""nftables messages: tables, chains, maps, rules and elements (linux/netfilter/nf_tables.h). Pure."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final

from cni.builtin.expressions import data
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
from oci.values import frozen

NETLINK_NETFILTER: Final = 12
NFPROTO_INET: Final = 1
IPV4: Final = socket.AF_INET  # NFPROTO_IPV4 and NFPROTO_IPV6 have the same numbers
IPV6: Final = socket.AF_INET6
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

_SET_MAP: Final = 0x8
_UDATA_COMMENT: Final = 0


class Hook(IntEnum):
    PREROUTING = 0
    INPUT = 1
    OUTPUT = 3
    POSTROUTING = 4


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


@frozen
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


def add_map(table: str, name: str, identity: int, key: tuple[int, int], value: tuple[int, int]) -> Message:
    """`key` and `value` are (type, length); `identity` tells this transaction's maps apart."""
    body = b"".join([
        _header(), text(1, table), text(2, name), _be32(3, _SET_MAP), _be32(4, key[0]), _be32(5, key[1]),
        _be32(6, value[0]), _be32(7, value[1]), _be32(10, identity),
    ])  # fmt: skip
    return Message(step=f"add nftables map {name}", kind=_NEWSET, body=body, flags=NLM_F_CREATE)


def add_elements(step: str, table: str, name: str, elements: Iterable[Element]) -> Message:
    """The kernel refuses a key that is there already (EEXIST)."""
    entries = [nested(1, data(1, e.key), data(2, e.data), attribute(6, _comment(e.comment))) for e in elements]
    body = _header() + text(1, table) + text(2, name) + nested(3, *entries)
    return Message(step=step, kind=_NEWSETELEM, body=body, flags=NLM_F_CREATE | NLM_F_EXCL)


def delete_elements(table: str, name: str, keys: Iterable[bytes]) -> Message:
    entries = [nested(1, data(1, key)) for key in keys]
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
