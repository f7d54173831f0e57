"""What the daemon holds of pods and containers that exist right now: shims, descriptors, events. Never on disk.

Both ends hold the pipes: the daemon keeps duplicates of a container's stdio and of its pod's namespaces, so that they
survive a shim that is killed; a shim keeps them when the daemon is. Whoever closes a value here closes its descriptors.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from cri.shims import Shim
from oci.protocol.messages import ContainerExited, ContainerHandles, SandboxNamespaces
from oci.spec import Process


@dataclass(slots=True)
class LivePod:
    """`shim` is None while a new one is being forked for a pod whose shim died."""

    shim: Shim | None
    namespaces: SandboxNamespaces | None = None
    repairing: asyncio.Task[None] | None = None
    shim_ready: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        close_fds(self.namespaces)
        self.namespaces = None


@dataclass(slots=True)
class LiveContainer:
    """Made before its shim is asked for it, so that an exit has a place to go to: until the answer its pid is 0."""

    handles: ContainerHandles = field(default_factory=lambda: ContainerHandles(pid=0))
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    updating: asyncio.Lock = field(default_factory=asyncio.Lock)  #: one update after the other is decided on
    limiting: asyncio.Lock = field(default_factory=asyncio.Lock)  #: limits and record change together
    pending_exit: ContainerExited | None = None  #: arrived while Create or Start was still being answered
    stop_deadline: float | None = None  #: loop time at which the stop under way becomes a kill
    process: Process | None = None  #: the container's own, from which exec takes everything but the command
    log_dropped: int = 0  #: bytes of its log that the metric has counted
    watched: bool = False  #: its pidfd is in the event loop

    def newly_dropped(self, total: int) -> int:
        """Bytes beyond what was told before. A new shim counts from nothing."""
        new = total - self.log_dropped if total >= self.log_dropped else total
        self.log_dropped = total
        return new

    def watch(self, ended: Callable[[], None]) -> None:
        """Where no shim tells of its end, the pidfd does."""
        if self.handles.pidfd is not None and not self.watched:
            asyncio.get_running_loop().add_reader(self.handles.pidfd, self._ended, ended)
            self.watched = True

    def _ended(self, ended: Callable[[], None]) -> None:
        self.unwatch()
        ended()

    def unwatch(self) -> None:
        """A shim tells of it again."""
        if self.watched and self.handles.pidfd is not None:
            asyncio.get_running_loop().remove_reader(self.handles.pidfd)
        self.watched = False

    def close(self) -> None:
        self.unwatch()
        close_fds(self.handles)
        self.handles = ContainerHandles(pid=self.handles.pid)


def close_fds(message: SandboxNamespaces | ContainerHandles | None) -> None:
    for name in message.FDS if message else ():
        fd = getattr(message, name)
        if fd is not None:
            os.close(fd)
