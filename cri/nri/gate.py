"""Lets many things happen at once, or one alone: creations on the one side, a plugin's synchronization on the other.

What must not be seen half done is done inside `shared`; whoever needs it all done or not begun asks for `alone`. Those
who wait for `alone` go before new ones who want `shared`, else a busy node would never synchronize a plugin.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._nobody_shares = asyncio.Event()
        self._nobody_wants_it_alone = asyncio.Event()
        self._sharing = 0
        self._wanting = 0  #: waiting for, or having it alone

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        while self._wanting:
            await self._nobody_wants_it_alone.wait()
        self._sharing += 1
        try:
            yield
        finally:
            self._sharing -= 1
            if not self._sharing:
                self._nobody_shares.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        self._wanting += 1
        self._nobody_wants_it_alone.clear()
        try:
            async with self._turn:
                while self._sharing:
                    self._nobody_shares.clear()
                    await self._nobody_shares.wait()
                yield
        finally:
            self._wanting -= 1
            if not self._wanting:
                self._nobody_wants_it_alone.set()
