"""One at a time for each key, and nothing kept afterwards."""

from __future__ import annotations

import asyncio

import pytest

from cni.turns import Turns


async def test_one_key_waits_and_another_does_not() -> None:
    turns, log, release = Turns(), list[str](), asyncio.Event()

    async def work(key: str, name: str) -> None:
        async with turns.take(key):
            log.append(f"+{name}")
            if name == "first":
                await release.wait()
            log.append(f"-{name}")

    tasks = [asyncio.create_task(work("a", "first"))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(work("a", "second")))
    await work("b", "other")
    release.set()
    await asyncio.gather(*tasks)
    assert log == ["+first", "+other", "-other", "-first", "+second", "-second"]
    assert turns.wanted() == frozenset()


async def test_failure_and_cancellation_give_the_turn_back() -> None:
    turns = Turns()

    async def fail() -> None:
        async with turns.take("a"):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await fail()
    async with turns.take("a"):
        waiting = asyncio.create_task(fail())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert turns.wanted() == frozenset()


async def test_alone_waits_for_all_and_lets_nobody_in() -> None:
    turns, log, release, inside = Turns(), list[str](), asyncio.Event(), asyncio.Event()

    async def work(name: str) -> None:
        async with turns.take(name):
            log.append(f"+{name}")
            inside.set()
            await release.wait()
            log.append(f"-{name}")

    async def collect() -> None:
        async with turns.alone():
            log.append("+gc")
            await asyncio.sleep(0)
            log.append("-gc")

    tasks = [asyncio.create_task(work("early"))]
    await inside.wait()
    tasks += [asyncio.create_task(collect()), asyncio.create_task(work("late"))]
    for _ in range(3):
        await asyncio.sleep(0)
    assert log == ["+early"]
    assert turns.wanted() == {"early", "late"}
    release.set()
    await asyncio.gather(*tasks)
    assert log == ["+early", "-early", "+gc", "-gc", "+late", "-late"]
