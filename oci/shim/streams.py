"""A container's output: from its pipes or its pty to the log file and to attached clients. Opens none of them.

Each wake of a stream moves one chunk, so a container that floods its output cannot starve the others. The shim reads
whether or not anybody wants the data: a container never blocks on a log.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios
import time

from oci.logs import Framer
from oci.shim import buffer
from oci.shim.log_file import LogFile
from oci.shim.loop import Loop

# A pty tells by EIO that it is empty and closed, and has at most this much to give.
_PTY_DRAIN = 1 << 20


class Stream:
    """One descriptor to read, non-blocking; owned, and closed at its end of file."""

    def __init__(self, loop: Loop, name: str, fd: int, log: LogFile | None) -> None:
        self.name = name
        self.fd = fd
        self._loop = loop
        self._log = log
        self._framer = Framer(name)
        self._sinks: list[Sink] = []
        loop.add(fd, self._readable)

    @property
    def at_end(self) -> bool:
        return self.fd < 0

    def attach(self, sink: Sink) -> None:
        self._sinks.append(sink)

    def drain(self) -> None:
        """Take what is there now; more may come as long as some process holds the other end."""
        left = _available(self.fd) if self.fd >= 0 else 0
        while self.fd >= 0 and left > 0:
            left -= self._move() or left

    def close(self) -> None:
        """Give up the stream, whoever still writes to it."""
        if self.fd >= 0:
            self._loop.remove(self.fd)
            os.close(self.fd)
            self.fd = -1
        if self._log is not None and self._framer.pending:
            self._log.write(self._framer.finish(time.time_ns()))
        sinks, self._sinks = self._sinks, []
        for sink in sinks:
            sink.finish()

    def _readable(self, _: int) -> None:
        self._move()

    def _move(self) -> int:
        """Bytes moved by one read; 0 when there is nothing or no more."""
        try:
            chunk = buffer.read(self.fd)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: every process has closed the pty
            chunk = b""
        if not chunk:
            self.close()
            return 0
        if self._log is not None:
            lines = self._framer.feed(chunk, time.time_ns())
            if lines:
                self._log.write(lines)
        if self._sinks:
            self._sinks = [sink for sink in self._sinks if sink.write(chunk)]
        return len(chunk)


class Sink:
    """A client's write end. Never waited for: what it cannot take is kept, and beyond `limit` bytes it is cut off."""

    def __init__(self, loop: Loop, fd: int, limit: int) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._limit = limit
        self._backlog = bytearray()
        self._finishing = False

    def write(self, chunk: bytes) -> bool:
        """False once the sink is closed."""
        if self._fd < 0:
            return False
        if not self._backlog:
            try:
                chunk = chunk[os.write(self._fd, chunk) :]
            except BlockingIOError:
                pass
            except OSError:
                return self._close()
            if not chunk:
                return True
            self._loop.add(self._fd, self._writable, select.EPOLLOUT)
        self._backlog += chunk
        return True if len(self._backlog) <= self._limit else self._close()

    def finish(self) -> None:
        """Close as soon as the backlog is gone."""
        self._finishing = True
        if not self._backlog and self._fd >= 0:
            self._close()

    def _writable(self, _: int) -> None:
        try:
            del self._backlog[: os.write(self._fd, self._backlog)]
        except BlockingIOError:
            return
        except OSError:
            self._close()
            return
        if not self._backlog:
            self._loop.remove(self._fd)
            if self._finishing:
                self._close()

    def _close(self) -> bool:
        self._loop.remove(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._backlog.clear()
        return False


def _available(fd: int) -> int:
    if os.isatty(fd):
        return _PTY_DRAIN
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
