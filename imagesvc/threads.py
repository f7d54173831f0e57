"""Work in a thread that a cancelled caller waits for: it uses descriptors and files that must not change under it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


async def run_to_end(work: Callable[[], Value], discard: Callable[[Value], None] | None = None) -> Value:
    """The result of `work`. When the caller is cancelled, the cancellation waits for the end of `work`, and what it made
    goes to `discard`."""
    future = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        if discard is not None and not future.cancelled() and future.exception() is None:
            discard(future.result())
        raise


async def descriptor(make: Callable[[], int]) -> int:
    """The descriptor that `make` returns; closed if nobody is there to take it."""
    return await run_to_end(make, os.close)
