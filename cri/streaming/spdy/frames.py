"""The wire format of SPDY/3.1: frames to events and back. Pure; knows nothing of which streams exist.

    control frame   1 | version 15 | type 16 | flags 8 | length 24 | payload
    data frame      0 | stream id 31         | flags 8 | length 24 | payload

The payload of a data frame is passed on as it comes, in several events if it comes in several pieces, so that a reader
never holds more than one (small) control frame.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

from cri.streaming.errors import ProtocolError
from cri.streaming.spdy.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    GoAwayStatus,
    HeadersReceived,
    PingReceived,
    ResetStatus,
    SettingsReceived,
    StreamOpened,
    StreamReplied,
    StreamReset,
    WindowUpdated,
)
from cri.streaming.spdy.headers import HeaderReader, Headers, HeaderWriter

VERSION: Final = 3
MAX_CONTROL_PAYLOAD: Final = 16 << 10
MAX_DATA_PAYLOAD: Final = (1 << 24) - 1
MAX_ID: Final = (1 << 31) - 1

_FIN: Final = 0x01
_UNIDIRECTIONAL: Final = 0x02
_HEAD: Final = struct.Struct(">II")
_SYN_STREAM: Final = struct.Struct(">IIBB")
_ONE: Final = struct.Struct(">I")
_TWO: Final = struct.Struct(">II")


class _Type(enum.IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class FrameReader:
    """After a ProtocolError it is spent: the header compression is out of step."""

    def __init__(self) -> None:
        self._headers = HeaderReader()
        self._rest = b""
        self._data_id = 0  # stream of the data frame under way
        self._data_left = 0
        self._data_fin = False

    def feed(self, data: bytes) -> list[Event]:
        if self._rest:
            data = self._rest + data
        events: list[Event] = []
        position, end = 0, len(data)
        while position < end:
            if self._data_left:
                taken = min(self._data_left, end - position)
                events.append(self._piece(data[position : position + taken]))
                position += taken
                continue
            if end - position < _HEAD.size:
                break
            first, second = _HEAD.unpack_from(data, position)
            length = second & MAX_DATA_PAYLOAD
            if first >> 31:
                _check_control(first, length)
                frame_end = position + _HEAD.size + length
                if frame_end > end:
                    break
                event = self._control(first & 0xFFFF, second >> 24, data[position + _HEAD.size : frame_end])
                if event is not None:
                    events.append(event)
                position = frame_end
            else:
                event = self._begin_data(first, second >> 24, length)
                if event is not None:
                    events.append(event)
                position += _HEAD.size
        self._rest = data[position:]
        return events

    def _begin_data(self, stream_id: int, flags: int, length: int) -> DataReceived | None:
        if not stream_id:
            raise _error("data frame for stream 0")
        self._data_id, self._data_fin, self._data_left = stream_id, bool(flags & _FIN), length
        return None if length else DataReceived(stream_id=stream_id, data=b"", fin=self._data_fin)

    def _piece(self, data: bytes) -> DataReceived:
        self._data_left -= len(data)
        return DataReceived(stream_id=self._data_id, data=data, fin=self._data_fin and not self._data_left)

    def _control(self, number: int, flags: int, payload: bytes) -> Event | None:
        try:
            kind = _Type(number)
        except ValueError:
            return None  # the specification: unknown control frames are ignored
        try:
            return self._parse(kind, flags, payload)
        except struct.error:
            raise _error(f"{kind.name} frame of {len(payload)} bytes is too short") from None

    def _parse(self, kind: _Type, flags: int, payload: bytes) -> Event:
        fin = bool(flags & _FIN)
        if kind is _Type.SYN_STREAM:
            stream_id, associated, priority, _ = _SYN_STREAM.unpack_from(payload)
            return StreamOpened(
                stream_id=_id(stream_id, kind),
                headers=self._headers.read(payload[_SYN_STREAM.size :]),
                fin=fin,
                unidirectional=bool(flags & _UNIDIRECTIONAL),
                associated_id=associated & MAX_ID,
                priority=priority >> 5,
            )
        if kind is _Type.SETTINGS:
            return SettingsReceived(settings=_settings(payload))
        number = _ONE.unpack_from(payload)[0]
        if kind is _Type.PING:
            return PingReceived(ping_id=number)
        if kind is _Type.GOAWAY:
            last, status = _TWO.unpack_from(payload)
            return GoAwayReceived(last_stream_id=last & MAX_ID, status=status)
        stream_id = _id(number, kind)
        if kind is _Type.SYN_REPLY:
            return StreamReplied(stream_id=stream_id, headers=self._headers.read(payload[_ONE.size :]), fin=fin)
        if kind is _Type.HEADERS:
            return HeadersReceived(stream_id=stream_id, headers=self._headers.read(payload[_ONE.size :]), fin=fin)
        if kind is _Type.RST_STREAM:
            return StreamReset(stream_id=stream_id, status=_TWO.unpack_from(payload)[1])
        return WindowUpdated(stream_id=stream_id, delta=_TWO.unpack_from(payload)[1] & MAX_ID)


class FrameWriter:
    """Each call is one frame. Frames with headers must be sent in the order in which they were made."""

    def __init__(self) -> None:
        self._headers = HeaderWriter()

    def syn_stream(
        self, stream_id: int, headers: Headers, *, fin: bool = False, unidirectional: bool = False, priority: int = 0
    ) -> bytes:
        flags = (_FIN if fin else 0) | (_UNIDIRECTIONAL if unidirectional else 0)
        head = _SYN_STREAM.pack(stream_id, 0, priority << 5, 0)
        return _control(_Type.SYN_STREAM, flags, head + self._headers.write(headers))

    def syn_reply(self, stream_id: int, headers: Headers = (), *, fin: bool = False) -> bytes:
        return _control(_Type.SYN_REPLY, _FIN if fin else 0, _ONE.pack(stream_id) + self._headers.write(headers))

    def headers(self, stream_id: int, headers: Headers, *, fin: bool = False) -> bytes:
        return _control(_Type.HEADERS, _FIN if fin else 0, _ONE.pack(stream_id) + self._headers.write(headers))

    def data(self, stream_id: int, data: bytes, *, fin: bool = False) -> bytes:
        """At most MAX_DATA_PAYLOAD bytes."""
        if len(data) > MAX_DATA_PAYLOAD:
            raise ValueError(f"{len(data)} bytes do not fit into a data frame")
        return b"".join((_HEAD.pack(stream_id, (_FIN << 24 if fin else 0) | len(data)), data))

    def rst_stream(self, stream_id: int, status: ResetStatus) -> bytes:
        return _control(_Type.RST_STREAM, 0, _TWO.pack(stream_id, status))

    def ping(self, ping_id: int) -> bytes:
        return _control(_Type.PING, 0, _ONE.pack(ping_id))

    def goaway(self, last_stream_id: int, status: GoAwayStatus = GoAwayStatus.OK) -> bytes:
        return _control(_Type.GOAWAY, 0, _TWO.pack(last_stream_id, status))

    def settings(self, settings: tuple[tuple[int, int, int], ...]) -> bytes:
        pairs = b"".join(_TWO.pack(flags << 24 | number, value) for number, flags, value in settings)
        return _control(_Type.SETTINGS, 0, _ONE.pack(len(settings)) + pairs)

    def window_update(self, stream_id: int, delta: int) -> bytes:
        return _control(_Type.WINDOW_UPDATE, 0, _TWO.pack(stream_id, delta))


def _control(kind: _Type, flags: int, payload: bytes) -> bytes:
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError(f"{kind.name} frame of {len(payload)} bytes is too large")
    return _HEAD.pack(1 << 31 | VERSION << 16 | kind, flags << 24 | len(payload)) + payload


def _check_control(first: int, length: int) -> None:
    version = first >> 16 & 0x7FFF
    if version != VERSION:
        raise _error(f"version {version}, not {VERSION}")
    if length > MAX_CONTROL_PAYLOAD:
        raise _error(f"control frame of {length} bytes, more than {MAX_CONTROL_PAYLOAD}")


def _id(number: int, kind: _Type) -> int:
    stream_id = number & MAX_ID
    if not stream_id:
        raise _error(f"{kind.name} frame for stream 0")
    return stream_id


def _settings(payload: bytes) -> tuple[tuple[int, int, int], ...]:
    count = _ONE.unpack_from(payload)[0]
    if len(payload) != _ONE.size + count * _TWO.size:
        raise _error(f"SETTINGS frame of {len(payload)} bytes does not hold {count} settings")
    pairs = (_TWO.unpack_from(payload, _ONE.size + i * _TWO.size) for i in range(count))
    return tuple((number & 0xFF_FFFF, number >> 24, value) for number, value in pairs)


def _error(problem: str) -> ProtocolError:
    return ProtocolError("spdy", problem)
