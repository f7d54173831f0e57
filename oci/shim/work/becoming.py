"""A container whose init is the very process that was forked to make it: one fork instead of two.

It has been born as the first process of the container's pid namespace. Until the init is set up it is a worker as any
other: its result goes to the shim when the init waits to be started, and what fails before is a worker's failure. By
then it may be in its cgroup, which nobody can remove while it is: the shim answers when that is done.

    shim                                         worker, and then init
    spawn(becoming, NEWPID) ── clone ──────────► reads the request, makes the cgroup, opens what it needs
                                                 mounts, pivots ...
    created ◄── answer, record, descriptors ──── waits for START on a channel of its own
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from oci import sockets
from oci.cgroups import CgroupDriver
from oci.errors import ContainerError
from oci.exits import ExitStack
from oci.handshake.channel import ChildChannel, Kind
from oci.protocol import failures, packet
from oci.protocol.messages import ContainerCreate, SandboxNamespaces
from oci.shim.engine import Engine
from oci.shim.log_file import open_log
from oci.shim.work import creation
from oci.shim.work.namespaces import enter
from oci.shim.work.stdio import open_pipes
from oci.shim.workers import Becoming, Outcome
from oci.sockets import Socket

Report = Callable[[Outcome], None]


def is_possible(request: ContainerCreate, namespaces: SandboxNamespaces, cgroups: CgroupDriver | None) -> bool:
    """On v2 a process is born in its cgroup, so that has to be there before."""
    return (
        request.new_pid
        and request.runtime is None
        and request.checkpoint is None
        and namespaces.user_fd is None
        and (request.cgroup_path is None or (cgroups is not None and cgroups.name == "v1"))
    )


def become(
    id: int, request: ContainerCreate, namespaces: SandboxNamespaces, engine: Engine, cgroups: CgroupDriver | None
) -> Becoming:
    """Raises what is wrong with the request; its cgroup, when it was made for nothing, is removed. `id` is that of the
    request."""
    spec = creation.load_spec(request.bundle)
    with ExitStack() as undo:
        cgroup = None
        if request.cgroup_path is not None and cgroups is not None:
            cgroup = cgroups.create(request.cgroup_path, spec.linux.resources)
            undo.callback(cgroup.remove)
        log_fd = None if request.log_path is None else open_log(request.log_path)
        pid, pidfd = int(os.readlink("/proc/self")), os.pidfd_open(os.getpid())
        enter(namespaces)
        terminal = spec.process is not None and spec.process.terminal
        stdio, pipes = (None, None) if terminal else open_pipes(request.stdin, ExitStack())
        wanted = creation.to_engine(request, spec, stdio, cgroup)
        ours, theirs = sockets.pair()
        undo.pop_all()

    def go(report: Report) -> NoReturn:
        handed = os.dup(ours.fileno())  # our copy of the other end: it goes to the shim
        made = partial(creation.outcome_of, request, pid, pidfd, handed, pipes, log_fd)
        own = _Channel(theirs, id, report, made)
        try:
            engine.become_container(wanted, own, ours)
        except Exception as error:
            report(_failure(id, error))
        os._exit(1)

    return go


class _Channel(ChildChannel):
    """What an init says up to READY is the worker's result."""

    __slots__ = ("_console", "_id", "_outcome", "_report")

    def __init__(self, end: Socket, id: int, report: Report, outcome: Callable[[int | None], Outcome]) -> None:
        super().__init__(end)
        self._id = id
        self._report: Report | None = report
        self._outcome = outcome
        self._console: int | None = None

    def tell(self, kind: Kind, payload: bytes = b"", fd: int | None = None) -> None:
        if kind is Kind.READY and self._report is not None:
            outcome = self._outcome(self._console)
            self._report(outcome)
            self._report = None
            for handed in outcome.fds.values():
                os.close(handed)
        elif kind is Kind.CONSOLE and self._report is not None and fd is not None:
            self._console = os.dup(fd)
        else:
            super().tell(kind, payload, fd)

    def fail(self, stage: str, number: int, message: str) -> None:
        if self._report is not None:
            self._report(_failure(self._id, ContainerError(stage, number, message)))
        else:
            super().fail(stage, number, message)


def _failure(id: int, error: Exception) -> Outcome:
    """For the shim to answer with."""
    data, _ = packet.pack(id, failures.from_exception(error))
    return Outcome(answer=None, record=(data,))
