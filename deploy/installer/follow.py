"""The pod waits for what the host decides, and knows when it is the host's turn no more. Reads only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from deploy.installer import names
from deploy.installer.context import Context
from deploy.installer.errors import NotVerified
from deploy.installer.switching.state import UNDER_WAY, SwitchState, read_switch

_PAUSE_S: Final = 2.0


def follow(
    context: Context,
    seconds: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> SwitchState:
    """The state that the host ended in. Starts its unit again when that is neither running nor done.

    Raises NotVerified when the host has not ended in time; it goes on all the same.
    """
    deadline = now() + seconds
    while True:
        context.journal.read()
        switch = read_switch(context.journal)
        if switch is None:
            raise NotVerified("no switch was asked for")
        if switch.state not in UNDER_WAY:
            return switch.state
        unit = names.ROLLBACK_UNIT if switch.state is SwitchState.REVERTING else names.SWITCH_UNIT
        if context.commands.run(("systemctl", "show", "--property=ActiveState", "--value", unit)).output.strip() in (
            "inactive",
            "failed",
        ):
            context.systemd.start(unit, wait=False)
        if now() > deadline:
            raise NotVerified(f"the host is still at it after {seconds:g} s: journalctl -u {unit}")
        sleep(_PAUSE_S)
