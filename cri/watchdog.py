"""Tells systemd that the daemon is well, and only while it is (WatchdogSec=, sd_watchdog_enabled(3)).

A loop that hangs tells nothing, and one that is late is told of in the log: who finds the daemon restarted has the
reason there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from cri import systemd
from cri.log_lines import fields

_log: Final = logging.getLogger("cri.watchdog")
_SHORTEST_S: Final = 1.0


def interval(environment: Mapping[str, str]) -> float | None:
    """Half of what systemd waits, in seconds; None when it does not wait for this process."""
    try:
        period = int(environment.get("WATCHDOG_USEC", "")) / 1_000_000
        if int(environment.get("WATCHDOG_PID") or os.getpid()) != os.getpid():
            return None
    except ValueError:
        return None
    return max(period / 2, _SHORTEST_S) if period > 0 else None


async def watch(
    health: Callable[[], Awaitable[str]], every: float, notify: Callable[[str], None] = systemd.notify
) -> None:
    """Until cancelled: asks, and passes on the good news."""
    well = True
    while True:
        asleep_since = time.monotonic()
        await asyncio.sleep(every)
        late = time.monotonic() - asleep_since - every
        if late > every / 2:
            _log.warning("the event loop was blocked", extra=fields(seconds=round(late, 1)))
        wrong = await health()
        if wrong:
            _log.error("unwell: systemd is not told otherwise", extra=fields(problem=wrong))
            notify(f"STATUS=unwell: {wrong}")
        else:
            notify("WATCHDOG=1" if well else "WATCHDOG=1\nSTATUS=serving")
        well = not wrong
