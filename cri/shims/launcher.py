"""The daemon's end of the launcher: keeps one running and asks it for shims. Owns the process, not the shims.

A launcher that died is replaced at once, so that the next pod does not pay for the start. Running pods never need it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from cri.shims.connection import Connection, ShimGone
from cri.shims.process import LauncherProcess
from cri.shims.shim import Shim
from oci.protocol.messages import AdoptContainer, AdoptSandbox, ForkShim, Hello, LauncherReady, Message, ShimForked
from oci.protocol.transport import close_descriptors

_log = logging.getLogger(__name__)

_PEER = "launcher"
# Between a launcher's death and the next start, when it keeps dying.
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptState:
    """What the daemon kept of a pod whose shim died. The descriptors stay the daemon's."""

    sandbox: AdoptSandbox = field(default_factory=AdoptSandbox)
    containers: Sequence[AdoptContainer] = ()


class Launcher:
    """`cgroup` is joined by the launcher and so by every shim (None: they stay in the daemon's)."""

    def __init__(self, *, cgroup: str | None = None, oom_score_adj: int | None = None) -> None:
        self._cgroup = cgroup
        self._oom_score_adj = oom_score_adj
        self._process: LauncherProcess | None = None
        self._connection: Connection | None = None
        self._starting = asyncio.Lock()
        self._restart: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Returns once the launcher has imported everything and is ready. Raises OSError and `ShimGone`."""
        await self._connected()

    async def fork_shim(self, sandbox_id: str, directory: str, adopt: AdoptState | None = None) -> Shim:
        """A new shim, connected, that serves `directory`/shim.sock; with `adopt` it has taken over a running pod."""
        request = ForkShim(sandbox_id=sandbox_id, directory=directory, oom_score_adj=self._oom_score_adj)
        try:
            forked = await (await self._connected()).request(request, ShimForked)
        except ShimGone:  # it died under the request: a second one gets a chance
            forked = await (await self._connected()).request(request, ShimForked)
        shim = Shim(sandbox_id, forked.pid, socket.socket(fileno=forked.connection_fd))
        try:
            if adopt is not None:
                await _adopt(shim, adopt)
        except BaseException:
            # Half a shim would watch half a pod: the next attempt starts anew with the daemon's descriptors.
            shim.disconnect()
            signal.pidfd_send_signal(forked.pidfd, signal.SIGKILL)
            raise
        finally:
            os.close(forked.pidfd)
        return shim

    async def close(self) -> None:
        """The launcher exits; its shims do not."""
        self._closed = True
        if self._restart is not None:
            self._restart.cancel()
        async with self._starting:
            if self._connection is not None:
                self._connection.close()
            if self._process is not None:
                try:
                    await asyncio.wait_for(self._process.wait(), 2.0)
                except TimeoutError:
                    self._process.kill()
                    await self._process.wait()

    async def _connected(self) -> Connection:
        async with self._starting:
            if self._connection is not None and self._connection.is_open:
                return self._connection
            if self._closed:
                raise ShimGone(_PEER, "is closed")
            self._process = LauncherProcess(cgroup=self._cgroup)
            connection = Connection(_PEER, self._process.socket, on_event=_unexpected, on_lost=self._lost)
            try:
                ready = await connection.request(Hello(), LauncherReady)
            except BaseException:
                connection.close()
                self._process.kill()
                raise
            for problem in ready.problems:
                _log.warning("launcher: %s", problem)
            self._connection = connection
            return connection

    def _lost(self) -> None:
        if not self._closed and self._connection is not None and self._restart is None:
            self._restart = asyncio.get_running_loop().create_task(self._start_again())

    async def _start_again(self) -> None:
        try:
            while not self._closed:
                _log.warning("launcher died, starting another")
                try:
                    await self._connected()
                    return
                except (OSError, ShimGone) as error:
                    _log.error("launcher cannot be started: %s", error)
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._restart = None


async def _adopt(shim: Shim, adopt: AdoptState) -> None:
    close_descriptors(await shim.adopt_sandbox(adopt.sandbox))
    for container in adopt.containers:
        close_descriptors(await shim.adopt_container(container))


def _unexpected(message: Message) -> None:
    _log.error("launcher sent an event: %s", message.KIND)
    close_descriptors(message)
