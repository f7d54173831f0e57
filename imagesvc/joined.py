"""Work that several callers want at the same time, done once.

The work lives as long as somebody waits for it. A caller that is cancelled leaves; when the last one has left, the work
is cancelled, and that caller's cancellation ends only when the work has cleaned up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Joined(Generic[Key, Value]):
    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Value]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: Key, work: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """The result of `work`, or of the work already under way for `key`."""
        while (flight := self._flights.get(key)) is not None and flight.leaving:
            await asyncio.wait({flight.task})  # given up, but not cleaned up yet: what comes now starts afresh
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(work()))
            flight.task.add_done_callback(lambda _, flight=flight: self._landed(key, flight))  # type: ignore[misc]
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                flight.leaving = True
                flight.task.cancel()
                await asyncio.wait({flight.task})

    async def close(self) -> None:
        """Cancels all work and waits for its end."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: Key, flight: _Flight[Value]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # seen, even if nobody waits any more


class _Flight(Generic[Value]):
    def __init__(self, task: asyncio.Task[Value]) -> None:
        self.task = task
        self.waiters = 0
        self.leaving = False
