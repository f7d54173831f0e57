"""The containers of a pod, from create to delete. Owns their records; the executor does the work.

    create ──► creating ──ready──► created ──start──► running ──init exits──► exited ──delete──► (gone)
                  │ failed            └──────── start failed, init exits ───────┘
                  ▼
                (gone)

When an init exits: what its streams hold goes to the log, the cgroup's OOM count is read, the record is written to
disk, and only then is the exit told.
"""

from __future__ import annotations

import errno
import signal
import termios
import time
from collections.abc import Callable

from oci.cgroups import CgroupDriver
from oci.engine import Phase
from oci.errors import CgroupError, ContainerError, ContainerExists, ContainerNotFound, StateError, Unsupported
from oci.protocol import messages
from oci.protocol.messages import AdoptContainer, ContainerCreate, ContainerExited, Done
from oci.shim import adoption, foreign, records
from oci.shim.container import Container
from oci.shim.creation import Creation
from oci.shim.engine import Drive, Engine
from oci.shim.loop import Children, Loop
from oci.shim.server import Reply

# What a shell answers for a command that cannot be executed, and the runtimes for all other reasons.
_START_FAILED = {errno.ENOENT: 127, errno.EACCES: 126}
_START_FAILED_OTHERWISE = 128


class Containers:
    def __init__(
        self,
        directory: str,
        engine: Engine,
        cgroups: CgroupDriver | None,
        loop: Loop,
        children: Children,
        tell: Callable[[ContainerExited], None],
    ) -> None:
        self._directory = directory
        self._engine = engine
        self._cgroups = cgroups
        self._loop = loop
        self._children = children
        self._tell = tell
        self._all: dict[str, Container] = {}

    def all(self) -> tuple[Container, ...]:
        return tuple(self._all.values())

    def get(self, container_id: str) -> Container:
        container = self._all.get(container_id)
        if container is None:
            raise ContainerNotFound(container_id)
        return container

    def create(self, request: ContainerCreate, reply: Reply) -> None:
        """Nothing is left of a container that could not be created."""
        if request.container_id in self._all:
            raise ContainerExists(request.container_id)
        if request.cgroup_path is not None and self._cgroups is None:
            raise Unsupported(f"cgroup {request.cgroup_path}", "the launcher found no cgroup file system")
        creation = Creation(self._engine, self._cgroups, self._loop, self._children)
        container = creation.begin(request)
        self._all[container.id] = container

        def settled(error: Exception | None) -> None:
            if error is not None:
                del self._all[container.id]
                creation.undo(container)
                reply.fail(error)
                return
            creation.complete(container)
            self._children.watch(container.pid, lambda status: self._exited(container, status))
            reply.done(container.handles())

        creation.drive(container, settled)

    def adopt(self, request: AdoptContainer) -> Container:
        """Take over a container whose shim died. One that has exited meanwhile is told at once."""
        if request.container_id in self._all:
            raise ContainerExists(request.container_id)
        container = adoption.adopt(request, self._loop, self._cgroups)
        self._all[container.id] = container
        record = records.read(self._directory, container.id)
        if record is not None:  # its shim died after the container did
            self._end(container, record)
        else:
            foreign.watch(self._loop, container.pidfd, lambda status: self._exited(container, status))
        return container

    def start(self, container_id: str, reply: Reply) -> None:
        container = self.get(container_id)
        if container.state != "created" or container.launch is None or container.starting is not None:
            state = "being started" if container.starting is not None else container.state
            raise StateError(container_id, f"cannot be started, it is {state}")
        container.launch.release()
        container.starting = reply
        Drive(
            self._loop,
            self._children,
            container.launch,
            Phase.EXECUTED,
            lambda error: self._settled(container, reply, error),
        )

    def _settled(self, container: Container, reply: Reply, error: Exception | None) -> None:
        container.starting = None
        container.launch = None
        if error is not None:
            container.start_error = error  # the init is on its way out, and its exit will be told
            reply.fail(error)
            return
        container.state = "running"
        container.started_at = time.time_ns()
        reply.done(Done())

    def kill(self, request: messages.Kill) -> None:
        container = self.get(request.container_id)
        if request.all and container.cgroup is not None:
            container.cgroup.kill(request.signal)
        elif container.state != "exited":
            try:
                signal.pidfd_send_signal(container.live_pidfd, request.signal)
            except ProcessLookupError:
                pass

    def delete(self, container_id: str) -> None:
        container = self._all.get(container_id)
        if container is None:
            return
        if container.state != "exited":
            raise StateError(container_id, f"cannot be deleted, it is {container.state}")
        if container.cgroup is not None:
            container.cgroup.kill(signal.SIGKILL)
            container.cgroup.remove()
        container.output.drain()
        container.close()
        records.remove(self._directory, container_id)
        del self._all[container_id]

    def reopen_log(self, container_id: str) -> None:
        container = self.get(container_id)
        if container.state == "exited":
            raise StateError(container_id, "has exited, its log is not reopened")
        container.output.reopen_log()

    def resize(self, container_id: str, *, width: int, height: int) -> None:
        container = self.get(container_id)
        if container.console_fd is None:
            raise StateError(container_id, "has no terminal")
        termios.tcsetwinsize(container.console_fd, (height, width))

    def _exited(self, container: Container, status: int) -> None:
        finished_at = time.time_ns()
        container.output.drain()
        record = ContainerExited(
            container_id=container.id,
            pid=container.pid,
            status=status if container.start_error is None else _start_status(container.start_error),
            finished_at=finished_at,
            oom_kills=_oom_kills(container),
        )
        self._end(container, record)

    def _end(self, container: Container, record: ContainerExited) -> None:
        container.state = "exited"
        container.exit = record
        container.forget_launch()
        records.write(self._directory, record)
        self._tell(record)


def _start_status(error: Exception) -> int:
    number = error.errno if isinstance(error, ContainerError) else 0
    return _START_FAILED.get(number, _START_FAILED_OTHERWISE) << 8


def _oom_kills(container: Container) -> int:
    try:
        return 0 if container.cgroup is None else container.cgroup.oom_kills()
    except CgroupError:  # removed under us: nothing can be known, and the exit must be told all the same
        return 0
