"""The pod's namespaces, as descriptors. The shim itself stays in the host's; workers and containers enter them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from oci.errors import StateError
from oci.protocol.messages import AdoptSandbox, InitExited, SandboxNamespaces, SandboxSetup
from oci.shim import foreign
from oci.shim.loop import Children, Loop
from oci.shim.server import Request
from oci.shim.work import namespaces
from oci.shim.workers import Workers

_NONE = SandboxNamespaces()


class Sandbox:
    def __init__(
        self,
        loop: Loop,
        children: Children,
        workers: Workers,
        tell: Callable[[InitExited], None],
    ) -> None:
        self.id = ""
        self.directory = ""
        self.namespaces = _NONE
        self._loop = loop
        self._children = children
        self._workers = workers
        self._tell = tell
        self._busy = False

    def make(self, request: Request) -> None:
        self._refuse_second()
        self._busy = True
        directory = self.directory

        def finished(record: tuple[int | None] | None, fds: dict[str, int]) -> None:
            self._busy = False
            if record is not None:
                (init_pid,) = record
                self.namespaces = SandboxNamespaces(init_pid=init_pid, **fds)
                fds.clear()
                if init_pid is not None:
                    self._children.watch(init_pid, self._init_exited)

        self._workers.spawn(request, lambda: namespaces.make(request.read(SandboxSetup), directory), finished)

    def adopt(self, request: Request) -> None:
        """The descriptors of a pod whose shim died, duplicated."""
        self._refuse_second()
        kept = request.read(AdoptSandbox)
        names = SandboxNamespaces.FDS
        held = {name: os.dup(fd) for name in names if (fd := getattr(kept, name)) is not None}
        self.namespaces = SandboxNamespaces(init_pid=kept.init_pid, **held)
        if self.namespaces.init_pidfd is not None:
            pid = self.namespaces.init_pid or 0
            foreign.watch(self._loop, pid, self.namespaces.init_pidfd, self._init_exited)
        request.reply(self.namespaces)

    def end(self) -> None:
        """The init's death ends what shares its pid namespace; the others go when their last holder goes."""
        if self.namespaces.init_pidfd is not None:
            try:
                signal.pidfd_send_signal(self.namespaces.init_pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _refuse_second(self) -> None:
        if self._busy or self.namespaces is not _NONE:
            raise StateError(self.id, "has its namespaces already")

    def _init_exited(self, status: int) -> None:
        self._tell(InitExited(pid=self.namespaces.init_pid or 0, status=status))
