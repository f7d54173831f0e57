"""Tells a peer that works from one that hangs. Owns the clock of one connection, sends nothing itself.

A request may take as long as a volume's server likes, and its shim answers others meanwhile. A shim that hangs (it is
stopped, or the kernel holds it) answers nobody. So after some silence with a request unanswered it is asked something
that costs nothing; silence after that is a verdict, until something is heard again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: Of silence before the question, and as much again before the verdict.
PATIENCE_S: Final = 5.0


class Silence:
    """`is_waiting` says whether an answer is owed; `ask` sends the question, `give_up` hears the verdict."""

    def __init__(
        self,
        *,
        is_waiting: Callable[[], bool],
        ask: Callable[[], None],
        give_up: Callable[[], None],
        patience_s: float | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_waiting = is_waiting
        self._ask = ask
        self._give_up = give_up
        self._patience = PATIENCE_S if patience_s is None else patience_s
        self._since = 0.0
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None

    def begins(self) -> None:
        """A request goes out; to be told before it counts as waiting."""
        if not self._is_waiting():
            self._since, self._asked = self._loop.time(), False
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._look)

    def ends(self) -> None:
        """Something was heard."""
        self._since, self._asked = self._loop.time(), False

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._is_waiting():
            return
        silent = self._loop.time() - self._since
        if silent < self._patience:
            self._timer = self._loop.call_later(self._patience - silent, self._look)
        elif not self._asked:
            self._asked = True
            self._timer = self._loop.call_later(self._patience, self._look)
            self._ask()
        else:
            self._give_up()


def doing(pid: int) -> str:
    """What a process is about, in words: from /proc/PID/stat (proc(5), field 3) and its wait channel."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        place = Path(f"/proc/{pid}/wchan").read_text() if state == "D" else ""
    except OSError:
        return "it cannot be looked at"
    held = f"the kernel holds it in {place}"
    words = {"T": "it is stopped", "t": "a debugger holds it", "D": held, "Z": "it is dead"}
    return words.get(state, f"its state is {state}")
