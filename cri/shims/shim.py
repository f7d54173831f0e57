"""The daemon's end of one pod's shim: its verbs as coroutines, its events as callbacks. No policy, no state on disk.

Errors: what the shim raised arrives as the same exception (`oci.errors`, OSError); `ShimGone` when it died or was never
there. Descriptors: those passed in a message stay the caller's (close them when the call returns); those that come back
are the caller's to close, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable

from cri.shims.connection import Connection, ShimGone
from cri.shims.execution import ExecHandle
from cri.shims.silence import PATIENCE_S, doing
from oci.protocol.messages import (
    AdoptContainer,
    AdoptSandbox,
    Attach,
    Checkpoint,
    CloseStdin,
    ContainerCreate,
    ContainerExited,
    ContainerHandles,
    Delete,
    Done,
    ExecExited,
    ExecStart,
    ExecStarted,
    Handles,
    Hello,
    InitExited,
    Kill,
    LogDropped,
    Message,
    ReopenLog,
    Resize,
    SandboxNamespaces,
    SandboxSetup,
    ShimEvent,
    ShimState,
    Shutdown,
    Start,
)
from oci.protocol.transport import close_descriptors
from oci.shim import address

_BUSY_PAUSE_S = 0.1


class Shim:
    """Made by `connect` or by `Launcher.fork_shim`; `listen` as soon as it is there."""

    def __init__(self, sandbox_id: str, pid: int, sock: socket.socket) -> None:
        self.sandbox_id = sandbox_id
        self.pid = pid
        self._on_event: Callable[[ShimEvent], None] | None = None
        self._on_lost: Callable[[], None] | None = None
        self._early: list[ShimEvent] = []
        self._execs: dict[str, ExecHandle] = {}
        peer = f"shim of sandbox {sandbox_id[:13]}"
        self._connection = Connection(
            peer,
            sock,
            on_event=self._event,
            on_lost=self._lost,
            probe=Handles(container_id="none"),  # ids have 64 digits
            hang=self._hang,
        )

    @classmethod
    async def connect(cls, sandbox_id: str, directory: str) -> Shim:
        """The running shim whose socket is in `directory`. Raises `ShimGone` when no process listens there."""
        peer = f"shim of sandbox {sandbox_id[:13]}"
        while True:
            try:
                sock = address.connect(directory)
            except ConnectionRefusedError:
                raise ShimGone(peer, f"nothing listens in {directory}") from None
            except FileNotFoundError:
                raise ShimGone(peer, f"{directory} holds no socket") from None
            except BlockingIOError:  # it lives, and has not taken the calls before this one
                await asyncio.sleep(_BUSY_PAUSE_S)
            else:
                return cls(sandbox_id, _peer_pid(sock), sock)

    def call_it(self, peer: str) -> None:
        """What errors name it by."""
        self._connection.peer = peer

    def _hang(self) -> str:
        return (
            f"process {self.pid} has answered nobody for {2 * PATIENCE_S:.0f} s: {doing(self.pid)}. Its containers run "
            f"on. Let it go on (kill -CONT {self.pid}), or end it (kill -KILL {self.pid}): then another takes its place"
        )

    @property
    def is_alive(self) -> bool:
        return self._connection.is_open

    def listen(
        self,
        *,
        on_event: Callable[[ShimEvent], None],
        on_lost: Callable[[], None],
        on_heard: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_event` gets the exits in the order they happened, those before this call first; `on_lost` comes last.

        `on_heard`: it had stopped answering, so that requests failed with `ShimHung`, and has now answered one of them.
        """
        self._on_event, self._on_lost = on_event, on_lost
        self._connection.on_heard = on_heard
        early, self._early = self._early, []
        for event in early:
            on_event(event)
        if not self.is_alive:
            on_lost()

    # --- sandbox

    async def setup(self, setup: SandboxSetup) -> SandboxNamespaces:
        return await self._connection.request(setup, SandboxNamespaces)

    async def describe(self) -> ShimState:
        """Everything the shim knows, with duplicates of the sandbox's descriptors; a container's by `handles`."""
        return await self._connection.request(Hello(), ShimState)

    async def shutdown(self) -> None:
        """Ends the pod's init and the shim; `StateError` while a container is alive. `on_lost` is not called."""
        await self._connection.request(Shutdown(), Done)
        self._connection.close()

    def disconnect(self) -> None:
        """Leave the shim running by itself: the daemon ends."""
        self._connection.close()
        self._end_execs()

    def kill_shim(self) -> None:
        """A shim that failed to take over a pod: its end harms no container."""
        self.disconnect()
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    async def adopt_sandbox(self, sandbox: AdoptSandbox) -> SandboxNamespaces:
        return await self._connection.request(sandbox, SandboxNamespaces)

    async def adopt_container(self, container: AdoptContainer) -> ContainerHandles:
        return await self._connection.request(container, ContainerHandles)

    # --- containers

    async def create(self, container: ContainerCreate) -> ContainerHandles:
        return await self._connection.request(container, ContainerHandles)

    async def handles(self, container_id: str) -> ContainerHandles:
        return await self._connection.request(Handles(container_id=container_id), ContainerHandles)

    async def start(self, container_id: str) -> None:
        await self._connection.request(Start(container_id=container_id), Done)

    async def kill(self, container_id: str, number: int, *, all: bool = False) -> None:
        """Signal the init, or every process of the container's cgroup. An exited container is not an error."""
        await self._connection.request(Kill(container_id=container_id, signal=number, all=all), Done)

    async def delete(self, container_id: str) -> None:
        """`StateError` while the init is alive; an unknown container is not an error."""
        await self._connection.request(Delete(container_id=container_id), Done)

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        """The container goes on when this returns; `Unsupported` where CRIU is missing."""
        await self._connection.request(checkpoint, Done)

    async def reopen_log(self, container_id: str) -> None:
        await self._connection.request(ReopenLog(container_id=container_id), Done)

    async def resize(self, container_id: str, *, width: int, height: int, exec_id: str | None = None) -> None:
        message = Resize(container_id=container_id, exec_id=exec_id, width=width, height=height)
        await self._connection.request(message, Done)

    async def close_stdin(self, container_id: str) -> None:
        await self._connection.request(CloseStdin(container_id=container_id), Done)

    async def attach(self, attach: Attach) -> None:
        await self._connection.request(attach, Done)

    # --- exec

    async def exec(self, start: ExecStart) -> ExecHandle:
        """Cancelled before the answer came, the process is killed."""
        handle = ExecHandle(self, start.container_id, start.exec_id)
        self._execs[start.exec_id] = handle
        try:
            started = await self._connection.request(start, ExecStarted)
        except asyncio.CancelledError:
            self._kill_unheard(start)
            raise
        except BaseException:
            self._execs.pop(start.exec_id, None)
            raise
        handle.started(started)
        return handle

    async def kill_exec(self, container_id: str, exec_id: str, number: int) -> None:
        await self._connection.request(Kill(container_id=container_id, exec_id=exec_id, signal=number), Done)

    def _kill_unheard(self, start: ExecStart) -> None:
        self._execs.pop(start.exec_id, None)
        kill = asyncio.ensure_future(self.kill_exec(start.container_id, start.exec_id, 9))
        kill.add_done_callback(_retrieve)

    def _event(self, message: Message) -> None:
        if isinstance(message, ExecExited):
            handle = self._execs.pop(message.exec_id, None)
            if handle is not None:
                handle.exited(message.status)
        if isinstance(message, (ContainerExited, ExecExited, InitExited, LogDropped)):
            if self._on_event is None:
                self._early.append(message)
            else:
                self._on_event(message)
        else:
            close_descriptors(message)

    def _lost(self) -> None:
        self._end_execs()
        if self._on_lost is not None:
            self._on_lost()

    def _end_execs(self) -> None:
        execs, self._execs = self._execs, {}
        for handle in execs.values():
            handle.shim_lost()


def _peer_pid(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], "little")


def _retrieve(task: asyncio.Future[None]) -> None:
    # The shim may be gone or the exec over: nothing is left to kill then.
    with contextlib.suppress(asyncio.CancelledError, Exception):
        task.result()
