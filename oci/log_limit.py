"""How much of a container's output reaches its log: a size for each file, a rate. Pure: lines and times in, lines out.

What exceeds a limit is dropped, by whole lines, and from then on everything until the period of suppression ends:

    rate    at the end of the second (counted from its first line) in which the budget was spent
    size    with the next generation of the file (`new_generation`)

The first line after a period, of whichever stream, stands after a marker that says how many bytes were dropped: bytes
of log lines, time and all. A file that is full also says so at its end, for nobody may ever begin another; room for
the markers is kept, so a file is never longer than its limit. A line that was cut between its parts is ended first.
"""

from __future__ import annotations

from typing import Final

from oci.logs import timestamp

#: Lines are `<30 bytes of time> <stdout|stderr> <P|F> <content>`.
_STREAM: Final = slice(31, 37)
_TAG: Final = slice(38, 39)
_SECOND: Final = 1_000_000_000
#: Two markers, each with the end of a partial line before it.
RESERVE: Final = 512


class LogLimiter:
    """0 sets no limit. `written` is what the file holds already."""

    __slots__ = ("_full", "_partial", "_period", "_rate_limit", "_size_max", "_spent", "_stream", "_window", "_written")

    def __init__(self, *, size_max: int, rate_limit: int, written: int = 0) -> None:
        self._size_max = size_max
        self._rate_limit = rate_limit
        self._written = written
        self._window = 0  # when it began
        self._spent = 0  # bytes in it
        self._period = 0  # bytes dropped since a marker told
        self._full = False
        self._partial: set[bytes] = set()  # streams whose last line in the file has not ended
        self._stream = b"stdout"  # of what was dropped last

    @property
    def untold(self) -> int:
        """Bytes dropped that no marker has told yet."""
        return self._period

    def admit(self, lines: bytes, now_ns: int) -> tuple[bytes, int]:
        """(What to write of `lines`, which are whole and of one stream, markers included; bytes dropped of them)."""
        if not lines:
            return b"", 0
        stream = lines[_STREAM]
        begins = not 0 <= now_ns - self._window < _SECOND
        if self._full or (self._period and not begins):
            return b"", self._drop(stream, len(lines))
        if begins:
            self._window, self._spent = now_ns, 0
        out = self._tell(stream, now_ns) if self._period else b""
        kept = self._fit(lines, len(out))
        if kept:
            self._note(stream, lines, kept)
        self._written += len(out) + kept
        self._spent += len(out) + kept
        out += lines[:kept]
        if kept < len(lines):
            dropped = self._drop(stream, len(lines) - kept)
            if self._size_max and self._written + _first_line(lines, kept) > self._size_max - RESERVE:
                self._full = True
                out += self._close_file(stream, now_ns)
            return out, dropped
        return out, 0

    def settle(self, now_ns: int) -> bytes:
        """The stream is silent, or at its end: the marker that is due. A full file's comes in the next one."""
        if not self._period or self._full:
            return b""
        marker = self._tell(self._stream, now_ns)
        self._written += len(marker)
        self._spent += len(marker)
        return marker

    def new_generation(self, written: int = 0) -> None:
        """Go on in another file; it is told what was dropped in this one."""
        self._written = written
        self._full = False
        self._partial.clear()
        self._window = self._spent = 0

    def _fit(self, lines: bytes, before: int) -> int:
        """Bytes of `lines` that may be written, up to the end of one."""
        room = len(lines)
        if self._size_max:
            room = min(room, self._size_max - RESERVE - self._written - before)
        if self._rate_limit:
            room = min(room, self._rate_limit - self._spent - before)
        if room >= len(lines):
            return len(lines)
        return lines.rfind(b"\n", 0, room) + 1 if room > 0 else 0

    def _note(self, stream: bytes, lines: bytes, kept: int) -> None:
        last = lines.rfind(b"\n", 0, kept - 1) + 1
        if lines[last : last + 39][_TAG] == b"P":
            self._partial.add(stream)
        else:
            self._partial.discard(stream)

    def _drop(self, stream: bytes, count: int) -> int:
        self._period += count
        self._stream = stream
        return count

    def _tell(self, stream: bytes, now_ns: int) -> bytes:
        dropped, self._period = self._period, 0
        return self._marker(stream, now_ns, b"coracle: log limit reached, %d bytes dropped" % dropped)

    def _close_file(self, stream: bytes, now_ns: int) -> bytes:
        text = b"coracle: log limit reached, this file takes no more than %d bytes" % self._size_max
        marker = self._marker(stream, now_ns, text)
        self._written += len(marker)
        return marker

    def _marker(self, stream: bytes, now_ns: int, text: bytes) -> bytes:
        prefix = b"%s %s F " % (timestamp(now_ns), stream)
        end = prefix + b"\n" if stream in self._partial else b""
        self._partial.discard(stream)
        return end + prefix + text + b"\n"


def _first_line(lines: bytes, start: int) -> int:
    return lines.find(b"\n", start) + 1 - start
