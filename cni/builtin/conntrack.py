"""Tracked connections: the one message that makes the kernel forget some (nfnetlink_conntrack.h). Pure."""

from __future__ import annotations

import errno
import struct
from typing import Final

from cni.builtin.netlink import Message, attribute, nested

_CT_DELETE: Final = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_FILTER_PROTOCOL: Final = 1 << 3
_FILTER_DESTINATION_PORT: Final = 1 << 5


def forget_flows(family: int, protocol: int, destination_port: int) -> Message:
    """Delete tracked flows to a host port: a flow keeps the translation (or none) that it began with."""
    ports = nested(2, attribute(1, bytes([protocol])), attribute(3, struct.pack(">H", destination_port)))
    chosen = struct.pack("=I", _FILTER_PROTOCOL | _FILTER_DESTINATION_PORT)
    body = (
        struct.pack(">BBH", family, 0, 0) + nested(1, ports) + nested(25, attribute(1, chosen), attribute(2, bytes(4)))
    )
    step = f"forget flows to port {destination_port}"
    return Message(step=step, kind=_CT_DELETE, body=body, tolerate=(errno.ENOENT,))
