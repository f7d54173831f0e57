"""CRI log framing (`<RFC 3339 time> <stream> <tag> <content>`), the content in bytes. Pure.

One `Framer` for each stream of a container. Fed with what was read and the time of the read, it returns whole log
lines, so that writes of several streams to one file (O_APPEND) never mix within a line. All lines of one read share
its time: that, and `bytes.replace` instead of a loop, is what makes it fast.

A line longer than `LINE_LIMIT` is cut into pieces of exactly that size, tagged P, the last one F; as containerd does
and the kubelet's reader expects. No other line is ever cut: what follows the last newline waits for its end, so that
the result does not depend on how the input was cut into reads. `finish` gives what is left at the end of the stream,
as P, for its line never ended.
"""

from __future__ import annotations

import time
from typing import Final

LINE_LIMIT: Final = 16 << 10

_NEWLINE: Final = b"\n"


def timestamp(now_ns: int) -> bytes:
    """RFC 3339 with nine digits, in UTC."""
    seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
    return b"%s.%09dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode(), nanoseconds)


class Framer:
    """`stream` is stdout or stderr."""

    __slots__ = ("_carry", "_stream")

    def __init__(self, stream: str) -> None:
        self._stream = stream.encode()
        self._carry = b""

    @property
    def pending(self) -> int:
        """Bytes of a line that has not ended yet; at most `LINE_LIMIT`."""
        return len(self._carry)

    def feed(self, chunk: bytes, now_ns: int) -> bytes:
        data = self._carry + chunk if self._carry else chunk
        full = b"%s %s F " % (timestamp(now_ns), self._stream)
        out: list[bytes] = []
        start = end = 0  # data[start:end] is whole lines, none too long
        size = len(data)
        while size - end > LINE_LIMIT:
            newline = data.rfind(_NEWLINE, end, end + LINE_LIMIT + 1)
            if newline >= 0:
                end = newline + 1
                continue
            _frame(out, data, start, end, full)
            out += (full[:-2], b"P ", data[end : end + LINE_LIMIT], _NEWLINE)
            start = end = end + LINE_LIMIT
        end = max(end, data.rfind(_NEWLINE, end) + 1)
        _frame(out, data, start, end, full)
        self._carry = data[end:]
        return b"".join(out)

    def finish(self, now_ns: int) -> bytes:
        rest, self._carry = self._carry, b""
        return b"%s %s P %s\n" % (timestamp(now_ns), self._stream, rest) if rest else b""


def _frame(out: list[bytes], data: bytes, start: int, end: int, prefix: bytes) -> None:
    if start < end:
        out += (prefix, data[start : end - 1].replace(_NEWLINE, _NEWLINE + prefix), _NEWLINE)
