"""The containers of a pod, from create to delete. Owns their records; workers do the work.

    create ──► creating ──ready──► created ──start──► running ──init exits──► exited ──delete──► (gone)
                  │ failed            └──────── start failed, init exits ───────┘
                  ▼
                (gone)

When an init exits: what its streams hold goes to the log, the cgroup's OOM count is read, the record is written to
disk, and only then is the exit told.
"""

from __future__ import annotations

import errno
import os
import signal
import termios
import time
from typing import Any

from oci.cgroups import CgroupDriver
from oci.errors import ContainerExists, ContainerNotFound, StateError
from oci.handshake.channel import Kind, failure
from oci.protocol import messages
from oci.protocol.messages import AdoptContainer, ContainerCreate, Done, SandboxNamespaces
from oci.shim import foreign, records
from oci.shim.container import Container, Output
from oci.shim.engine import Engine
from oci.shim.loop import Children, Loop
from oci.shim.server import Reply, Server
from oci.shim.work import creation, ending
from oci.shim.workers import Outcome, Workers

# What a shell answers for a command that cannot be executed, and the runtimes for all other reasons.
_START_FAILED = {errno.ENOENT: 127, errno.EACCES: 126}
_START_FAILED_OTHERWISE = 128
_START = Kind.START.value
_FAILED = Kind.FAILED.value


class Containers:
    def __init__(
        self,
        directory: str,
        engine: Engine,
        cgroups: CgroupDriver | None,
        loop: Loop,
        children: Children,
        workers: Workers,
        server: Server,
    ) -> None:
        self._directory = directory
        self._engine = engine
        self._cgroups = cgroups
        self._loop = loop
        self._children = children
        self._workers = workers
        self._server = server
        self._all: dict[str, Container] = {}

    def all(self) -> tuple[Container, ...]:
        return tuple(self._all.values())

    def get(self, container_id: str) -> Container:
        container = self._all.get(container_id)
        if container is None:
            raise ContainerNotFound(container_id)
        return container

    def create(self, request: ContainerCreate, namespaces: SandboxNamespaces, reply: Reply) -> None:
        if request.container_id in self._all:
            raise ContainerExists(request.container_id)
        container = Container.new(request, Output(self._loop, request.log_path))

        def finished(record: tuple[Any, ...] | None, fds: dict[str, int]) -> None:
            container.worker = 0
            if record is None:
                del self._all[container.id]
                container.close()
                return
            self._created(container, record[0], fds)

        engine, cgroups = self._engine, self._cgroups
        try:
            container.worker = self._workers.spawn(
                reply, lambda: creation.create(request, namespaces, engine, cgroups), finished
            )
        except BaseException:
            container.close()
            raise
        self._all[container.id] = container

    def _created(self, container: Container, pid: int, fds: dict[str, int]) -> None:
        container.pid = pid
        container.pidfd = fds.pop("pidfd")
        container.channel = fds.pop("channel")
        container.stdin_fd = fds.pop("stdin_fd", None)
        container.seccomp_fd = fds.pop("seccomp_fd", None)
        container.console_fd = fds.pop("console_fd", None)
        if container.console_fd is not None:
            # The end of the stream is no reason to close the pty: somebody may open its other side again.
            container.output.add("stdout", os.dup(container.console_fd))
        for name in ("stdout", "stderr"):
            if f"{name}_fd" in fds:
                container.output.add(name, fds.pop(f"{name}_fd"))
        container.state = "created"
        container.created_at = time.time_ns()
        self._children.watch(pid, lambda status: self._exited(container, status))

    def adopt(self, request: AdoptContainer) -> Container:
        """Take over a container whose shim died. One that has exited meanwhile is told at once.

        One that was not started yet can never be: its init waits for a shim that is gone, and ends.
        """
        if request.container_id in self._all:
            raise ContainerExists(request.container_id)
        output = Output(self._loop, request.log_path)
        container = Container(
            id=request.container_id,
            bundle=request.bundle,
            log_path=request.log_path,
            cgroup_path=request.cgroup_path,
            output=output,
            state="running" if request.started else "created",
            pid=request.pid,
            pidfd=os.dup(request.pidfd),
            stdin_fd=_keep(request.stdin_fd),
            console_fd=_keep(request.console_fd),
            seccomp_fd=_keep(request.seccomp_fd),
        )
        for name, fd in (("stdout", request.console_fd), ("stdout", request.stdout_fd), ("stderr", request.stderr_fd)):
            if fd is not None:
                output.add(name, os.dup(fd))
        self._all[container.id] = container
        record = records.read(self._directory, container.id)
        if record is not None:  # its shim died after the container did
            container.state = "exited"
            container.status, container.finished_at = record.status, record.finished_at
            container.oom_kills = record.oom_kills
            self._server.tell(record)
        else:
            foreign.watch(self._loop, container.pidfd, lambda status: self._exited(container, status))
        return container

    def start(self, container_id: str, reply: Reply) -> None:
        container = self.get(container_id)
        if container.state != "created" or container.channel < 0 or container.starting is not None:
            state = "being started" if container.starting is not None else container.state
            raise StateError(container_id, f"cannot be started, it is {state}")
        os.write(container.channel, _START)
        container.starting = reply
        self._loop.add(container.channel, lambda _: self._start_ready(container))

    def _start_ready(self, container: Container) -> None:
        """The init has executed (its end closed by that), or says why it cannot and ends."""
        reply, container.starting = container.starting, None
        self._loop.remove(container.channel)
        try:
            data = os.read(container.channel, 8192)
        except ConnectionResetError:  # it was killed before it read our order
            data = b""
        container.close_channel()
        if reply is None:
            return
        if not data:
            container.state = "running"
            container.started_at = time.time_ns()
            reply.done(Done())
        elif data[:1] == _FAILED:
            error = failure(data[1:])
            container.start_status = _START_FAILED.get(error.errno, _START_FAILED_OTHERWISE) << 8
            reply.fail(error)
        else:
            signal.pidfd_send_signal(container.pidfd, signal.SIGKILL)
            reply.fail(StateError(container.id, f"cannot be started, its init asks for {Kind(data[:1]).name}"))

    def kill(self, request: messages.Kill, reply: Reply) -> None:
        container = self.get(request.container_id)
        if request.all and container.cgroup_path is not None and self._cgroups is not None:
            cgroups, number = self._cgroups, request.signal
            self._workers.spawn(reply, lambda: ending.kill_all(container, number, cgroups), _nothing)
            return
        try:
            if container.state == "creating":
                # Its init goes with the worker, whose end of the channel closes.
                os.kill(container.worker, signal.SIGKILL)
            elif container.state != "exited":
                signal.pidfd_send_signal(container.pidfd, request.signal)
        except ProcessLookupError:
            pass
        reply.done(Done())

    def delete(self, container_id: str, reply: Reply) -> None:
        container = self._all.get(container_id)
        if container is None:
            reply.done(Done())
            return
        if container.state != "exited" or container.worker:
            state = "being deleted" if container.state == "exited" else container.state
            raise StateError(container_id, f"cannot be deleted, it is {state}")

        def finished(record: tuple[Any, ...] | None, _: dict[str, int]) -> None:
            container.worker = 0
            if record is not None:
                container.output.drain()
                container.close()
                del self._all[container_id]

        directory, cgroups = self._directory, self._cgroups
        container.worker = self._workers.spawn(reply, lambda: ending.remove(container, directory, cgroups), finished)

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
        container.finished_at = time.time_ns()
        if container.starting is not None:  # first things first
            self._start_ready(container)
        container.status = status if container.start_status is None else container.start_status
        container.close_channel()
        container.output.drain()

        def finished(record: tuple[Any, ...] | None, _: dict[str, int]) -> None:
            container.state = "exited"
            container.worker = 0
            container.oom_kills = 0 if record is None else record[0]
            if record is None:
                self._server.tell(container.exit_record())

        directory, cgroups = self._directory, self._cgroups

        def work() -> Outcome:
            return ending.record_exit(container, container.status, container.finished_at, directory, cgroups)

        try:
            container.worker = self._workers.spawn(self._server.event(), work, finished)
        except OSError:  # no process to be had: then here
            self._server.tell(work().answer)
            container.state = "exited"


def _keep(fd: int | None) -> int | None:
    return None if fd is None else os.dup(fd)


def _nothing(_: tuple[Any, ...] | None, __: dict[str, int]) -> None:
    pass
