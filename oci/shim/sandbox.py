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
from oci.signals import send_signal


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
        self._held: dict[str, int] = {}  # name of a descriptor in SandboxNamespaces -> the descriptor
        self._init_pid: int | None = None
        self._loop = loop
        self._children = children
        self._workers = workers
        self._tell = tell
        self._busy = False

    def make(self, request: Request) -> None:
        self._refuse_second()
        setup = request.read(SandboxSetup)
        if not namespaces.takes_processes(setup):
            made = namespaces.make_here(setup)
            self._take(None, {name: fd for name in made.FDS if (fd := getattr(made, name)) is not None})
            request.reply(made)
            return
        self._busy = True
        directory = self.directory

        def finished(record: tuple[int | None] | None, fds: dict[str, int]) -> None:
            self._busy = False
            if record is not None:
                (init_pid,) = record
                self._take(init_pid, fds.copy())
                fds.clear()
                if init_pid is not None:
                    self._children.watch(init_pid, self._init_exited)

        self._workers.spawn(request, lambda: namespaces.make(setup, directory), finished)

    def adopt(self, request: Request) -> None:
        """The descriptors of a pod whose shim died, duplicated."""
        self._refuse_second()
        kept = request.read(AdoptSandbox)
        names = SandboxNamespaces.FDS
        held = {name: os.dup(fd) for name in names if (fd := getattr(kept, name)) is not None}
        self._take(kept.init_pid, held)
        if "init_pidfd" in held:
            foreign.watch(self._loop, kept.init_pid or 0, held["init_pidfd"], self._init_exited)
        request.reply(self.namespaces())

    def namespaces(self) -> SandboxNamespaces:
        """For workers: the shim itself has no use for it."""
        return SandboxNamespaces(init_pid=self._init_pid, **self._held)

    def end(self) -> None:
        """The init's death ends what shares its pid namespace; the others go when their last holder goes."""
        if "init_pidfd" in self._held:
            send_signal(self._held["init_pidfd"], signal.SIGKILL)

    def _take(self, init_pid: int | None, held: dict[str, int]) -> None:
        self._init_pid, self._held = init_pid, held

    def _refuse_second(self) -> None:
        if self._busy or self._held:
            raise StateError(self.id, "has its namespaces already")

    def _init_exited(self, status: int) -> None:
        self._tell(InitExited(pid=self._init_pid or 0, status=status))
