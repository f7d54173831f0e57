"""Who may work when (CNI 1.1, section 3, Lifecycle & Ordering). Keeps nothing for keys that nobody wants.

take(key)    one at a time for each key: the verbs of one attachment must not overlap
alone()      nothing else at all: GC must not run beside any ADD or DEL; who comes meanwhile waits
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Turns:
    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}
        self._working = 0
        self._alone = asyncio.Lock()
        self._quiet = asyncio.Event()
        self._quiet.set()

    def wanted(self) -> frozenset[Hashable]:
        """The keys that somebody works on or waits for."""
        return frozenset(self._locks)

    @asynccontextmanager
    async def take(self, key: Hashable) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                async with self._alone:
                    self._working += 1
                    self._quiet.clear()
                try:
                    yield
                finally:
                    self._working -= 1
                    if not self._working:
                        self._quiet.set()
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._alone:
            await self._quiet.wait()
            yield
