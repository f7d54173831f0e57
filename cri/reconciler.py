"""Finishes what was begun: records that are STOPPING or REMOVING, until every step of their teardown has succeeded.

It runs when a step failed and at start, with a growing pause between rounds, and not at all while there is nothing to
do. The steps are idempotent, so it may meet an RPC that does the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from cri.state.machine import ContainerState, SandboxState
from cri.teardown import remove_container, remove_sandbox, stop_sandbox

if TYPE_CHECKING:
    from cri.daemon import Daemon

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class Reconciler:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._wake = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    def wake(self) -> None:
        self._wake.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            pause = FIRST_PAUSE_S
            while self._unfinished():
                await asyncio.sleep(pause)
                await self.finish()
                pause = min(pause * 2, LONGEST_PAUSE_S)
            self._wake.clear()

    def _unfinished(self) -> bool:
        return any(r.state is ContainerState.REMOVING for r in self._daemon.containers) or any(
            r.state in (SandboxState.STOPPING, SandboxState.REMOVING) for r in self._daemon.sandboxes
        )

    async def finish(self) -> None:
        """One round over everything that is unfinished. Failures were logged by the steps; they come again."""
        daemon = self._daemon
        for container in daemon.containers:
            if container.state is ContainerState.REMOVING:
                await self._join(("remove", container.id), partial(remove_container, daemon, container))
        for sandbox in daemon.sandboxes:
            if sandbox.state is SandboxState.REMOVING:
                await self._join(("remove", sandbox.id), partial(remove_sandbox, daemon, sandbox))
            elif sandbox.state is SandboxState.STOPPING:
                await self._join(("stop", sandbox.id), partial(stop_sandbox, daemon, sandbox))

    async def _join(self, key: tuple[str, str], work: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._daemon.joined.run(key, " ".join(key), lambda progress: work(), None)
        except Exception as error:
            self._daemon.log.debug("%s is not finished yet: %s", " ".join(key), error)
