"""Decides what a request is upgraded to: SPDY/3.1, WebSocket channels, SPDY in a WebSocket; or why not. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from cri.streaming.errors import Refused
from cri.streaming.http import Request
from cri.streaming.remote_command import SPDY_PROTOCOLS, WEBSOCKET_PROTOCOLS, CommandProtocol, choose
from cri.streaming.tickets import PortForwardTicket, Ticket
from cri.streaming.websocket import accept_key
from oci.values import frozen

_SPDY: Final = "SPDY/3.1"
_PORT_FORWARD: Final = "portforward.k8s.io"
_TUNNEL: Final = f"{_SPDY}+{_PORT_FORWARD}"
#: Two channels for each, and their numbers are one byte.
_MAX_CHANNEL_PORTS: Final = 127
_PROTOCOL_HEADER: Final = "X-Stream-Protocol-Version"


class Carrier(enum.Enum):
    SPDY = "SPDY"
    WEBSOCKET = "WebSocket"
    TUNNEL = "SPDY in WebSocket"


@frozen
class Upgrade:
    """`headers` of the answer. `command` is the protocol of numbered channels or of exec's streams, None otherwise."""

    carrier: Carrier
    headers: Mapping[str, str]
    command: CommandProtocol | None = None


def split_path(request: Request) -> tuple[str, str]:
    """Kind and token of /kind/token. Raises Refused."""
    if request.method not in ("GET", "POST"):
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"method {request.method} is not allowed", {"Allow": "GET, POST"})
    parts = request.target.partition("?")[0].split("/")
    if len(parts) != 3 or parts[0] or not parts[1] or not parts[2]:
        raise Refused(HTTPStatus.NOT_FOUND, "no such path")
    return parts[1], parts[2]


def negotiate(request: Request, ticket: Ticket) -> Upgrade:
    """Raises Refused."""
    if not request.has("connection", "upgrade"):
        raise Refused(HTTPStatus.BAD_REQUEST, "unable to upgrade: missing upgrade headers in request")
    if request.has("upgrade", "websocket"):
        return _websocket(request, ticket)
    if request.has("upgrade", _SPDY):
        return _spdy(request, ticket)
    raise Refused(HTTPStatus.BAD_REQUEST, f"unable to upgrade: neither {_SPDY} nor websocket is asked for")


def _spdy(request: Request, ticket: Ticket) -> Upgrade:
    offered = request.values(_PROTOCOL_HEADER.lower())
    headers = {"Connection": "Upgrade", "Upgrade": _SPDY}
    if isinstance(ticket, PortForwardTicket):
        if offered and _PORT_FORWARD not in offered:
            raise _nothing_in_common(offered, (_PORT_FORWARD,))
        return Upgrade(carrier=Carrier.SPDY, headers={**headers, _PROTOCOL_HEADER: _PORT_FORWARD})
    command = choose(offered, SPDY_PROTOCOLS)
    if command is None:
        raise _nothing_in_common(offered, tuple(known.name for known in SPDY_PROTOCOLS if known.name))
    if command.name:
        headers[_PROTOCOL_HEADER] = command.name
    return Upgrade(carrier=Carrier.SPDY, headers=headers, command=command)


def _nothing_in_common(offered: tuple[str, ...], known: tuple[str, ...]) -> Refused:
    return Refused(
        HTTPStatus.FORBIDDEN,
        f"unable to upgrade: unable to negotiate protocol: client supports {', '.join(offered)}, "
        f"server accepts {', '.join(known)}",
        {"X-Accepted-Stream-Protocol-Versions": ", ".join(known)},
    )


def _websocket(request: Request, ticket: Ticket) -> Upgrade:
    keys = request.values("sec-websocket-key")
    if request.method != "GET" or len(keys) != 1 or request.values("sec-websocket-version") != ("13",):
        raise Refused(
            HTTPStatus.BAD_REQUEST, "not a WebSocket handshake of version 13", {"Sec-WebSocket-Version": "13"}
        )
    offered = request.values("sec-websocket-protocol")
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Accept": accept_key(keys[0])}
    if isinstance(ticket, PortForwardTicket):
        if _TUNNEL in offered:
            return Upgrade(carrier=Carrier.TUNNEL, headers={**headers, "Sec-WebSocket-Protocol": _TUNNEL})
        if not 0 < len(ticket.ports) <= _MAX_CHANNEL_PORTS:
            raise Refused(
                HTTPStatus.BAD_REQUEST,
                f"channels need 1 to {_MAX_CHANNEL_PORTS} ports in the request, which has {len(ticket.ports)}; "
                f"{_TUNNEL} needs none",
            )
    command = choose(offered, WEBSOCKET_PROTOCOLS)
    if command is None:
        raise Refused(HTTPStatus.BAD_REQUEST, f"none of the protocols {', '.join(offered)} is known")
    if command.name:
        headers["Sec-WebSocket-Protocol"] = command.name
    return Upgrade(carrier=Carrier.WEBSOCKET, headers=headers, command=command)
