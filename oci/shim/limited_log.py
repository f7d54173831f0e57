"""A container's log file with limits on what it takes. `oci.log_limit` decides; this file asks it and tells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from oci.log_limit import LogLimiter
from oci.shim.log_file import LogFile

#: Nanoseconds between two reports of what was dropped.
_REPORT: Final = 10_000_000_000


class LimitedLog(LogFile):
    """Takes the descriptor over. `report` gets the bytes dropped since the container's creation, now and then."""

    __slots__ = ("_limiter", "_report", "_reported")

    def __init__(self, fd: int, *, size_max: int, rate_limit: int, report: Callable[[int], None]) -> None:
        super().__init__(fd)
        self._limiter = LogLimiter(size_max=size_max, rate_limit=rate_limit, written=os.fstat(fd).st_size)
        self._report = report
        self._reported = 0

    def write(self, lines: bytes) -> None:
        now = time.time_ns()
        kept, dropped = self._limiter.admit(lines, now)
        if kept:
            super().write(kept)
        if dropped:
            self.dropped_bytes += dropped
            if not 0 <= now - self._reported < _REPORT:
                self._reported = now
                self._report(self.dropped_bytes)

    def settle(self) -> None:
        marker = self._limiter.settle(time.time_ns())
        if marker:
            super().write(marker)

    def replace(self, fd: int) -> None:
        super().replace(fd)
        self._limiter.new_generation(os.fstat(fd).st_size)
