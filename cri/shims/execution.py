"""An exec'ed process as the daemon sees it: its pidfd, its console, its exit status whatever becomes of the shim."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from oci.protocol.messages import UNKNOWN_STATUS, ExecStarted, exit_code
from oci.shim.foreign import exit_status

if TYPE_CHECKING:
    from cri.shims.shim import Shim


class ExecHandle:
    """`close` it when done; `console_fd` may be taken over by setting it to None."""

    def __init__(self, shim: Shim, container_id: str, exec_id: str) -> None:
        self.container_id = container_id
        self.exec_id = exec_id
        self.pid = 0
        self.pidfd = -1
        self.console_fd: int | None = None
        self._shim = shim
        self._loop = asyncio.get_running_loop()
        self._status: asyncio.Future[int] = self._loop.create_future()
        self._watched = False
        self._reading: asyncio.Task[None] | None = None

    async def wait(self) -> int:
        """The exit code (128 + N for a signal). Without its shim: from the pidfd, 255 where the kernel cannot tell."""
        return exit_code(await asyncio.shield(self._status))

    async def kill(self, signal: int) -> None:
        """An exec that is over already is not an error."""
        await self._shim.kill_exec(self.container_id, self.exec_id, signal)

    async def resize(self, *, width: int, height: int) -> None:
        await self._shim.resize(self.container_id, exec_id=self.exec_id, width=width, height=height)

    def close(self) -> None:
        if self._watched:
            self._loop.remove_reader(self.pidfd)
            self._watched = False
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self.console_fd is not None:
            os.close(self.console_fd)
            self.console_fd = None

    # --- called by Shim

    def started(self, answer: ExecStarted) -> None:
        self.pid = answer.pid
        self.pidfd = answer.pidfd
        self.console_fd = answer.console_fd

    def exited(self, status: int) -> None:
        if not self._status.done():
            self._status.set_result(status)

    def shim_lost(self) -> None:
        if self._status.done():
            return
        if self.pidfd < 0:  # closed already, or never started
            self._status.set_result(UNKNOWN_STATUS)
            return
        self._watched = True
        self._loop.add_reader(self.pidfd, self._pidfd_readable)

    def _pidfd_readable(self) -> None:
        # Readable means a zombie at least.
        self._loop.remove_reader(self.pidfd)
        self._watched = False
        self._reading = self._loop.create_task(self._read_status())

    async def _read_status(self) -> None:
        for delay in (0.0, 0.01, 0.05, 0.2, 1.0):
            await asyncio.sleep(delay)
            status = exit_status(self.pid, self.pidfd) if self.pidfd >= 0 else None
            if status is not None:
                self.exited(status)
                return
        self.exited(UNKNOWN_STATUS)
