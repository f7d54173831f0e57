from __future__ import annotations

import asyncio

import pytest

from cri.errors import DeadlineExceeded
from cri.joined import JoinedCalls, Progress


async def test_a_second_call_gets_the_first_ones_result() -> None:
    calls, started = JoinedCalls(), 0
    go = asyncio.Event()

    async def work(progress: Progress) -> str:
        nonlocal started
        started += 1
        await go.wait()
        return "id"

    first = asyncio.create_task(calls.run("k", "it", work, None))
    second = asyncio.create_task(calls.run("k", "it", work, None))
    await asyncio.sleep(0)
    go.set()
    assert (await first, await second, started) == ("id", "id", 1)


async def test_impatient_callers_learn_the_stage_and_do_not_cancel_the_work() -> None:
    calls, go = JoinedCalls(), asyncio.Event()

    async def work(progress: Progress) -> str:
        progress.enter("waiting for the network plugins")
        await go.wait()
        return "id"

    with pytest.raises(DeadlineExceeded, match="pod a/b is still waiting for the network plugins"):
        await calls.run("k", "pod a/b", work, 0.01)
    cancelled = asyncio.create_task(calls.run("k", "pod a/b", work, None))
    await asyncio.sleep(0)
    cancelled.cancel()
    retry = asyncio.create_task(calls.run("k", "pod a/b", work, None))
    await asyncio.sleep(0)
    go.set()
    assert await retry == "id"


async def test_a_failure_reaches_every_caller_and_the_next_call_starts_anew() -> None:
    calls, attempts = JoinedCalls(), 0

    async def work(progress: Progress) -> int:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0)
        if attempts == 1:
            raise OSError("no")
        return attempts

    results = await asyncio.gather(
        calls.run("k", "it", work, None), calls.run("k", "it", work, None), return_exceptions=True
    )
    assert [type(result) for result in results] == [OSError, OSError]
    assert await calls.run("k", "it", work, None) == 2


async def test_drain_waits_for_everything_under_way() -> None:
    calls, done = JoinedCalls(), False

    async def work(progress: Progress) -> None:
        nonlocal done
        await asyncio.sleep(0.01)
        done = True

    task = asyncio.create_task(calls.run("k", "it", work, None))
    await asyncio.sleep(0)
    await calls.drain(5.0)
    assert done
    await task


async def test_drain_does_not_wait_for_ever() -> None:
    calls = JoinedCalls()

    async def work(progress: Progress) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(calls.run("k", "it", work, None))
    await asyncio.sleep(0)
    await calls.drain(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_settling_waits_for_the_calls_that_are_meant_however_they_end() -> None:
    calls, go = JoinedCalls(), asyncio.Event()

    async def fails(progress: Progress) -> None:
        await go.wait()
        raise OSError("no")

    async def hangs(progress: Progress) -> None:
        await asyncio.Event().wait()

    for key, work in ((("a", 1), fails), (("b", 1), hangs)):
        task = asyncio.create_task(calls.run(key, "it", work, None))
        await asyncio.sleep(0)
        task.cancel()
    settling = asyncio.create_task(calls.settle(lambda key: isinstance(key, tuple) and key[0] == "a"))
    await asyncio.sleep(0)
    assert not settling.done()
    go.set()
    await settling
    await calls.settle(lambda key: key == "nothing")
    await calls.drain(0)
