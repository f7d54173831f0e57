"""Finishes what was begun: records that are STOPPING or REMOVING, until every step of their teardown has succeeded.

It runs when a step failed and at start, with a growing pause between rounds, and not at all while there is nothing to
do. The steps are idempotent, so it may meet an RPC that does the same.
"""

from __future__ import annotations

import asyncio
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
        """One round over all that is unfinished, at once: one that hangs must not keep the others waiting."""
        daemon = self._daemon
        work = [remove_container(daemon, r.id) for r in daemon.containers if r.state is ContainerState.REMOVING]
        for sandbox in daemon.sandboxes:
            if sandbox.state is SandboxState.REMOVING:
                work.append(remove_sandbox(daemon, sandbox.id))
            elif sandbox.state is SandboxState.STOPPING:
                work.append(stop_sandbox(daemon, sandbox.id))
        # Failures were logged by the steps; they come again.
        await asyncio.gather(*work, return_exceptions=True)
