"""The daemon's end of the launcher: keeps one running and asks it for shims. Owns the process, not the shims.

A launcher that died is replaced at once, so that the next pod does not pay for the start. Running pods never need it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cri.shims.connection import ShimGone
from cri.shims.process import LauncherProcess
from cri.shims.shim import Shim
from oci.protocol.forking import ForkShim
from oci.protocol.messages import AdoptContainer, AdoptSandbox
from oci.protocol.transport import close_descriptors
from oci.shim import address

_log = logging.getLogger(__name__)

# Between a launcher's death and the next start, when it keeps dying.
_PAUSE_SECONDS = 1.0
# A start takes a third of a second. One that hangs is killed, and the next gets twice the time: it may be the machine.
_PATIENCE_SECONDS = 15.0
_MOST_PATIENCE_SECONDS = 600.0


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
        self._starting = asyncio.Lock()
        self._begun: float | None = None
        self._patience = _PATIENCE_SECONDS
        self._restart: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def starting_seconds(self) -> float:
        """How long one that is not ready yet has been starting; 0 when none is."""
        return 0.0 if self._begun is None else time.monotonic() - self._begun

    async def start(self) -> None:
        """Returns once the launcher has imported everything and is ready. Raises OSError and `ShimGone`."""
        await self._running()

    async def fork_shim(self, sandbox_id: str, directory: str, adopt: AdoptState | None = None) -> Shim:
        """A new shim, connected, that serves `directory`/shim.sock; with `adopt` it has taken over a running pod.

        `directory` exists and is 0700. Raises OSError, EADDRINUSE when a living shim serves that directory.
        """
        request = ForkShim(sandbox_id=sandbox_id, directory=directory, oom_score_adj=self._oom_score_adj)
        try:
            shim = await self._fork(request)
        except ShimGone:  # the launcher died under the request, perhaps after it had forked
            shim = await _find(sandbox_id, directory) or await self._fork(request)
        if adopt is not None:
            try:
                await _adopt(shim, adopt)
            except BaseException:
                # Half a shim would watch half a pod: the next attempt starts anew with the daemon's descriptors.
                shim.kill_shim()
                raise
        return shim

    async def ping(self) -> None:
        """Returns when the launcher has answered; starts it when it is not there. Raises OSError and `ShimGone`."""
        await (await self._running()).ping()

    async def close(self) -> None:
        """The launcher exits; its shims do not."""
        self._closed = True
        if self._restart is not None:
            self._restart.cancel()
        async with self._starting:
            if self._process is None:
                return
            self._process.close()
            try:
                await asyncio.wait_for(self._process.wait(), 2.0)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _fork(self, request: ForkShim) -> Shim:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, address.listen(request.directory) as listener:
                pid = await (await self._running()).fork(request, listener, theirs)
            return Shim(request.sandbox_id, pid, ours)
        except BaseException:
            ours.close()
            raise

    async def _running(self) -> LauncherProcess:
        async with self._starting:
            if self._process is not None and self._process.is_alive:
                return self._process
            if self._closed:
                raise ShimGone("launcher", "is closed")
            self._begun = time.monotonic()
            try:
                process = LauncherProcess(cgroup=self._cgroup, on_exit=self._exited)
                problems = await _ready(process, self._patience)
            except TimeoutError:
                self._patience, waited = min(2 * self._patience, _MOST_PATIENCE_SECONDS), self._patience
                raise ShimGone("launcher", f"was not ready within {waited:.0f} s, and was killed") from None
            finally:
                self._begun = None
            self._patience = _PATIENCE_SECONDS
            for problem in problems:
                _log.warning("launcher: %s", problem)
            self._process = process
            return process

    def _exited(self) -> None:
        if not self._closed and self._process is not None and self._restart is None:
            self._restart = asyncio.get_running_loop().create_task(self._start_again())

    async def _start_again(self) -> None:
        try:
            while not self._closed:
                _log.warning("launcher died, starting another")
                try:
                    await self._running()
                    return
                except (OSError, ShimGone) as error:
                    _log.error("launcher cannot be started: %s", error)
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._restart = None


async def _ready(process: LauncherProcess, patience: float) -> list[str]:
    """Raises TimeoutError."""
    try:
        async with asyncio.timeout(patience):
            return await process.ready()
    except BaseException:
        process.close()
        process.kill()
        raise


async def _find(sandbox_id: str, directory: str) -> Shim | None:
    """The shim of which a launcher could not tell us any more."""
    try:
        shim = await Shim.connect(sandbox_id, directory)
        state = await shim.describe()
    except ShimGone:
        return None
    close_descriptors(state)
    shim.pid = state.pid  # the socket names whoever listened there first
    return shim


async def _adopt(shim: Shim, adopt: AdoptState) -> None:
    close_descriptors(await shim.adopt_sandbox(adopt.sandbox))
    for container in adopt.containers:
        close_descriptors(await shim.adopt_container(container))
