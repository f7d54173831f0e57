"""A container's log file, written by all its streams. Knows lines only as what must not be torn.

O_APPEND and one write for each batch of whole lines: what several streams write never mixes within a line. A log that
cannot be written (disk full) loses lines and never stops the container; a line that was cut short by it is ended
before the next one begins.
"""

from __future__ import annotations

import os

# The last component is never a link: the kubelet makes plain files, anything else is somebody's trick.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
_MODE = 0o640


def open_log(path: str) -> int:
    """Raises OSError."""
    return os.open(path, _FLAGS, _MODE)


class LogFile:
    """Takes the descriptor over."""

    __slots__ = ("_fd", "_torn", "dropped_bytes", "lost_bytes")

    def __init__(self, fd: int) -> None:
        self.lost_bytes = 0
        self.dropped_bytes = 0
        self._torn = False
        self._fd = fd

    def write(self, lines: bytes) -> None:
        if self._torn:
            lines = b"\n" + lines
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._fd, lines[written:] if written else lines)
        except OSError:
            self.lost_bytes += len(lines) - written
        self._torn = 0 < written < len(lines) and lines[written - 1 : written] != b"\n"

    def replace(self, fd: int) -> None:
        """Go on in another file."""
        os.close(self._fd)
        self._fd = fd
        self._torn = False

    def settle(self) -> None:
        """No more comes for now."""

    def detach(self) -> int:
        """The descriptor is the caller's again."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
