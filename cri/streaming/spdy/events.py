"""What a peer can say in SPDY/3.1, as values: the events of `FrameReader` and the codes in them. Pure."""

from __future__ import annotations

import enum
from typing import TypeAlias

from cri.streaming.spdy.headers import Headers
from oci.values import frozen


class ResetStatus(enum.IntEnum):
    """Why a stream ended; a peer may send numbers beyond these."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    FRAME_TOO_LARGE = 11


class GoAwayStatus(enum.IntEnum):
    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


@frozen
class StreamOpened:
    """SYN_STREAM. `fin`: the peer sends nothing on it; `unidirectional`: it expects nothing."""

    stream_id: int
    headers: Headers
    fin: bool = False
    unidirectional: bool = False
    associated_id: int = 0
    priority: int = 0


@frozen
class StreamReplied:
    """SYN_REPLY."""

    stream_id: int
    headers: Headers
    fin: bool = False


@frozen
class HeadersReceived:
    stream_id: int
    headers: Headers
    fin: bool = False


@frozen
class DataReceived:
    stream_id: int
    data: bytes
    fin: bool = False


@frozen
class StreamReset:
    """RST_STREAM."""

    stream_id: int
    status: int


@frozen
class PingReceived:
    ping_id: int


@frozen
class GoAwayReceived:
    last_stream_id: int
    status: int


@frozen
class SettingsReceived:
    """(id, flags, value) of each setting."""

    settings: tuple[tuple[int, int, int], ...]


@frozen
class WindowUpdated:
    stream_id: int
    delta: int


Event: TypeAlias = (
    StreamOpened
    | StreamReplied
    | HeadersReceived
    | DataReceived
    | StreamReset
    | PingReceived
    | GoAwayReceived
    | SettingsReceived
    | WindowUpdated
)
