"""SPDY/3.1 as a sans-IO protocol: bytes in, frozen events out; calls in, bytes out. Pure.

    dictionary  the text that header compression starts with
    headers     blocks of names and values, one zlib stream in each direction
    events      what a peer can say
    frames      the wire format: `FrameReader` and `FrameWriter`
    connection  `SpdyConnection`: which streams exist and which way they are still open

The peers (the kubelet, kubectl, crictl) speak SPDY by moby/spdystream, which knows no flow control: it never sends a
WINDOW_UPDATE. So windows are read and written here and never enforced; back-pressure is TCP's.
"""

from __future__ import annotations

from cri.streaming.spdy.connection import MAX_STREAMS, SpdyConnection
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
from cri.streaming.spdy.frames import FrameReader, FrameWriter
from cri.streaming.spdy.headers import Headers

__all__ = [
    "MAX_STREAMS",
    "DataReceived",
    "Event",
    "FrameReader",
    "FrameWriter",
    "GoAwayReceived",
    "GoAwayStatus",
    "Headers",
    "HeadersReceived",
    "PingReceived",
    "ResetStatus",
    "SettingsReceived",
    "SpdyConnection",
    "StreamOpened",
    "StreamReplied",
    "StreamReset",
    "WindowUpdated",
]
