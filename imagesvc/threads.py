"""Work in a thread that a cancelled caller waits for: it uses descriptors and files that must not change under it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


async def run_to_end(work: Callable[[], Value], discard: Callable[[Value], None] | None = None) -> Value:
    """The result of `work`. A cancellation of the caller waits for its end; what it made then goes to `discard`."""
    future = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        if future.exception() is None and discard is not None:
            discard(future.result())
        raise


async def descriptor(make: Callable[[], int]) -> int:
    """The descriptor that `make` returns; closed if nobody is there to take it."""
    return await run_to_end(make, os.close)
