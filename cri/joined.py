"""Calls that join: a retry while the first call is still at work waits for the same result.

The kubelet repeats a RunPodSandbox, CreateContainer or PullImage that took longer than its deadline. Starting the work
anew would fail on the name that the first call holds; here the retry awaits the first call's task, and gets the result
the moment it exists. The task is not the caller's: a caller that goes away does not cancel it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cri.errors import DeadlineExceeded

T = TypeVar("T")


@dataclass(slots=True)
class Progress:
    """What a joined call is doing now, for the message to a caller whose patience ends first."""

    stage: str = "starting"
    since: float = field(default_factory=time.monotonic)

    def enter(self, stage: str) -> None:
        self.stage, self.since = stage, time.monotonic()

    def describe(self) -> str:
        return f"{self.stage} for {time.monotonic() - self.since:.1f} s"


class JoinedCalls:
    """The calls under way, by key. `on_stall` hears the stage of each call whose caller's patience ended."""

    def __init__(self, on_stall: Callable[[str], None] = lambda stage: None) -> None:
        self._on_stall = on_stall
        self._running: dict[Hashable, tuple[asyncio.Task[Any], Progress]] = {}

    async def run(
        self, key: Hashable, what: str, work: Callable[[Progress], Awaitable[T]], deadline_s: float | None
    ) -> T:
        """The result of the call `key` under way, else of `work`, started now.

        Raises DeadlineExceeded naming `what` and its stage when `deadline_s` passes first; the work goes on.
        """
        if key not in self._running:
            progress = Progress()
            task = asyncio.ensure_future(work(progress))
            self._running[key] = task, progress
            task.add_done_callback(lambda done: self._forget(key, done))
        task, progress = self._running[key]
        done, _ = await asyncio.wait([task], timeout=deadline_s)
        if not done:
            self._on_stall(progress.stage)
            raise DeadlineExceeded(f"{what} is still {progress.describe()}; a retry joins it")
        result: T = task.result()
        return result

    async def settle(self, wanted: Callable[[Hashable], bool]) -> None:
        """Wait until the calls with such keys that are under way now have ended, however they end."""
        if tasks := [task for key, (task, _) in self._running.items() if wanted(key)]:
            await asyncio.wait(tasks)

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # retrieved here, since every caller may be gone

    async def drain(self, patience_s: float) -> None:
        """Wait for all calls under way, before the daemon closes what they use; cancel those that take too long.

        What a cancelled call leaves behind is in its record, and finished or undone at the next start.
        """
        tasks = [task for task, _ in self._running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
