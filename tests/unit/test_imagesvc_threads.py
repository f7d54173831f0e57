from __future__ import annotations

import asyncio
import os
import threading

import pytest

from imagesvc.threads import descriptor, run_to_end


async def test_the_result_comes_back() -> None:
    assert await run_to_end(lambda: 5) == 5
    with pytest.raises(ValueError, match="no"):
        await run_to_end(lambda: int("no"))


async def test_a_cancelled_caller_waits_and_the_descriptor_is_closed() -> None:
    go, made = threading.Event(), []

    def make() -> int:
        go.wait(10)
        made.append(os.open("/dev/null", os.O_RDONLY))
        return made[0]

    caller = asyncio.ensure_future(descriptor(make))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])


async def test_a_cancelled_caller_survives_a_failure_of_the_work() -> None:
    go = threading.Event()

    def fail() -> int:
        go.wait(10)
        raise ValueError("no")

    caller = asyncio.ensure_future(descriptor(fail))
    await asyncio.sleep(0)
    caller.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
