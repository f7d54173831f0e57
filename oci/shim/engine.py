"""What the shim asks of the executor; `Executor` is the real one, the tests without root have another."""

from __future__ import annotations

import os
import socket
from typing import NoReturn, Protocol

from oci import syscalls
from oci.engine import CreateRequest, ExecRequest, Launch, outside
from oci.engine import Engine as OciEngine
from oci.engine.attach import CgroupEntry, prepare_entry
from oci.engine.container import become_container
from oci.engine.equipment import Equipment
from oci.engine.filters import filter_program
from oci.engine.namespaces import join_mask
from oci.exits import ExitStack
from oci.handshake.channel import ChildChannel
from oci.init.context import Context
from oci.init.run import run_child
from oci.plan.exec import plan_exec
from oci.plan.host import Supplied
from oci.shim.sockets import Socket


class Engine(Protocol):
    def launch_container(self, request: CreateRequest) -> Launch:
        """Forks from the calling process and returns when the child is on its way."""

    def become_container(self, request: CreateRequest, own: ChildChannel, parent: Socket) -> NoReturn:
        """Makes the calling process, born as the first of a pid namespace, the init. Raises when the request is at
        fault, before anything has been done."""

    def become_process(self, request: ExecRequest, child: socket.socket, parent: socket.socket) -> NoReturn:
        """Makes the calling process the one to execute; what follows is said on `child`, as a launch's child says it.

        The caller was born in the container's pid namespace and, on cgroup v2, in its cgroup. Raises when the request
        is at fault, before anything has been done.
        """


class Executor:
    """An exec from here takes one fork instead of two: the worker that has planned it becomes the process itself."""

    def __init__(self, equipment: Equipment) -> None:
        self._equipment = equipment
        self.engine = OciEngine(equipment)

    def launch_container(self, request: CreateRequest) -> Launch:
        return self.engine.launch_container(request)

    def become_container(self, request: CreateRequest, own: ChildChannel, parent: Socket) -> NoReturn:
        become_container(self._equipment, request, own, parent)

    def become_process(self, request: ExecRequest, child: socket.socket, parent: socket.socket) -> NoReturn:
        proc = self._equipment.proc
        mask = join_mask(proc, request.pid) & ~syscalls.CLONE_NEWPID
        user_namespace = bool(mask & syscalls.CLONE_NEWUSER)
        entry = _entry(request)
        profile = request.spec.linux.seccomp
        supplied = Supplied(
            enters=bool(entry.tasks), seccomp=request.seccomp_program is not None or profile is not None
        )
        plan = plan_exec(request.process, request.spec, self._equipment.host, supplied, user_namespace=user_namespace)
        context = Context(
            channel=ChildChannel(child),
            proc=proc,
            args=request.process.args,
            env=list(request.process.env),
            stdio=request.stdio,
            seccomp=filter_program(request.seccomp_program, profile),
            cgroup=entry.tasks,
            container_pidfd=request.pidfd,
            join_mask=mask,
        )
        # Our pid as the procfs sees it, which is the host's: getpid() would be the container's.
        outside.adjust(proc, int(os.readlink("self", dir_fd=proc)), request.process, user_namespace=user_namespace)
        run_child(plan, context, parent, wait=False)


def _entry(request: ExecRequest) -> CgroupEntry:
    """On v1 the descriptors to enter by; they end with this process."""
    if request.cgroup is None:
        return CgroupEntry()
    opened = ExitStack()
    entry = prepare_entry(request.cgroup, opened)
    opened.pop_all()
    return entry
