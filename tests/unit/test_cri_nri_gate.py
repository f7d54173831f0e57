"""The gate between creations and a plugin's synchronization."""

from __future__ import annotations

import asyncio

from cri.nri.gate import Gate


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_sharers_do_not_wait_for_each_other() -> None:
    gate = Gate()
    async with gate.shared(), gate.shared():
        pass


async def test_alone_waits_for_sharers_and_new_sharers_wait_for_it() -> None:
    gate, order = Gate(), []
    release = asyncio.Event()

    async def share(name: str) -> None:
        async with gate.shared():
            order.append(name)
            await release.wait()

    async def alone() -> None:
        async with gate.alone():
            order.append("alone")
            await settle()
            order.append("alone ends")

    tasks = [asyncio.ensure_future(share("first"))]
    await settle()
    tasks.append(asyncio.ensure_future(alone()))
    await settle()
    tasks.append(asyncio.ensure_future(share("second")))
    await settle()
    assert order == ["first"]
    release.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "alone", "alone ends", "second"]


async def test_two_that_want_it_alone_take_turns() -> None:
    gate, inside = Gate(), 0

    async def alone() -> None:
        nonlocal inside
        async with gate.alone():
            inside += 1
            assert inside == 1
            await settle()
            inside -= 1

    await asyncio.gather(alone(), alone(), alone())
    async with gate.shared():
        pass


async def test_one_that_gives_up_waiting_leaves_the_gate_open() -> None:
    gate = Gate()
    async with gate.shared():
        task = asyncio.ensure_future(gate.alone().__aenter__())
        await settle()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5), gate.shared():
            pass


async def test_a_failure_inside_opens_it_again() -> None:
    gate = Gate()
    for way in (gate.shared, gate.alone):
        try:
            async with way():
                raise KeyError("x")
        except KeyError:
            pass
    async with asyncio.timeout(5), gate.alone():
        pass
