"""Whether the daemon can do its work: what the watchdog asks before it tells systemd so.

Three things that a daemon which merely exists may have lost: an event loop that comes round (who asks runs on it), a
state database that can be written, and a launcher that answers. Nothing here repairs: a daemon that stays unwell is
restarted by systemd, and its pods do not notice.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Final

from cri.shims import ShimGone

if TYPE_CHECKING:
    from cri.daemon import Daemon

_LAUNCHER_PATIENCE_S: Final = 25.0
#: On a node that has just booted under load. A restart of the daemon would have it begin anew, and take longer still.
_LAUNCHER_START_S: Final = 600.0


async def problem(daemon: Daemon) -> str:
    """What is wrong; "" when nothing is."""
    try:
        daemon.note_health()
    except sqlite3.Error as error:
        return f"the state database {daemon.paths.database} cannot be written: {error}"
    if 0 < daemon.launcher.starting_seconds < _LAUNCHER_START_S:
        return ""
    try:
        async with asyncio.timeout(_LAUNCHER_PATIENCE_S):
            await daemon.launcher.ping()
    except TimeoutError:
        return f"the launcher does not answer within {_LAUNCHER_PATIENCE_S:.0f} s"
    except (OSError, ShimGone) as error:  # one that has just died is replaced meanwhile
        return f"the launcher cannot be reached: {error}"
    return ""
