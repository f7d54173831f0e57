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
from collections.abc import Callable
from typing import Any

from oci.cgroups import CgroupDriver
from oci.errors import ContainerExists, ContainerNotFound, StateError
from oci.handshake.channel import Kind, failure
from oci.protocol.messages import (
    AdoptContainer,
    ContainerCreate,
    Kill,
    LogDropped,
    OciRuntime,
    Resize,
)
from oci.shim import buffer, foreign, records
from oci.shim.container import Container, Output
from oci.shim.engine import Engine
from oci.shim.handlers import verbs
from oci.shim.log_file import open_log
from oci.shim.loop import Children, Loop
from oci.shim.sandbox import Sandbox
from oci.shim.server import Request, Server
from oci.shim.work import becoming, creation, ending
from oci.shim.workers import Outcome, Workers, nothing
from oci.signals import send_signal

# What a shell answers for a command that cannot be executed, and the runtimes for all other reasons.
_START_FAILED = {errno.ENOENT: 127, errno.EACCES: 126}
_START_FAILED_OTHERWISE = 128
_START = Kind.START.value
_FAILED = Kind.FAILED.value
_LISTENER = Kind.LISTENER.value
_GO = Kind.GO.value


class Containers:
    def __init__(
        self,
        engine: Engine,
        cgroups: CgroupDriver | None,
        loop: Loop,
        children: Children,
        workers: Workers,
        server: Server,
    ) -> None:
        self.directory = ""
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

    def create(self, request: Request, sandbox: Sandbox) -> None:
        if request.key in self._all:
            raise ContainerExists(request.key)
        container = Container(request.key, Output(self._loop, None))

        def finished(record: tuple[Any, ...] | None, fds: dict[str, int]) -> None:
            container.worker = 0
            if record is None:
                del self._all[container.id]
            else:
                self._created(container, record, fds)

        engine, cgroups = self._engine, self._cgroups
        wanted, namespaces = request.read(ContainerCreate), sandbox.namespaces()
        if becoming.is_possible(wanted, namespaces, cgroups):

            def became(record: tuple[Any, ...] | None, fds: dict[str, int]) -> None:
                if record is None or len(record) > 1:
                    finished(record, fds)
                else:
                    self._not_become(container, wanted.cgroup_path, request, record[0])

            container.worker = self._workers.spawn(
                request, lambda: becoming.become(request.id, wanted, namespaces, engine, cgroups), became, new_pid=True
            )
        else:
            container.worker = self._workers.spawn(
                request, lambda: creation.create(wanted, namespaces, engine, cgroups), finished
            )
        self._all[container.id] = container

    def _not_become(self, container: Container, cgroup_path: str | None, request: Request, answer: bytes) -> None:
        """It was in its cgroup perhaps, and ends; what it has to say is said when nothing is left of it."""
        cgroups = self._cgroups

        def finished(_: tuple[Any, ...] | None, __: dict[str, int]) -> None:
            del self._all[container.id]
            request.send(answer)

        container.worker = self._workers.spawn(
            self._server.event(), lambda: ending.remove_cgroup(cgroup_path, cgroups), finished
        )

    def _created(self, container: Container, record: tuple[Any, ...], fds: dict[str, int]) -> None:
        container.pid, container.bundle, container.log_path, container.cgroup_path, *limits, runtime = record
        container.runtime = None if runtime is None else OciRuntime(path=runtime[0], root=runtime[1])
        container.pidfd = fds.pop("pidfd")
        container.channel = fds.pop("channel", -1)
        container.stdin_fd = fds.pop("stdin_fd", None)
        container.seccomp_fd = fds.pop("seccomp_fd", None)
        container.console_fd = fds.pop("console_fd", None)
        if "log_fd" in fds:
            container.output.replace_log(fds.pop("log_fd"))
            container.output.limit_log(limits[0], limits[1], self._reporter(container.id))
        if container.console_fd is not None:
            # The end of the stream is no reason to close the pty: somebody may open its other side again.
            container.output.add("stdout", os.dup(container.console_fd))
        for name in ("stdout", "stderr"):
            if f"{name}_fd" in fds:
                container.output.add(name, fds.pop(f"{name}_fd"))
        container.state = "created"
        container.created_at = time.time_ns()
        self._children.watch(container.pid, lambda status: self._exited(container, status))

    def adopt(self, asked: Request) -> None:
        """Take over a container whose shim died. One that has exited meanwhile is told at once.

        One that was not started yet can never be: its init waits for a shim that is gone, and ends.
        """
        request = asked.read(AdoptContainer)
        if request.container_id in self._all:
            raise ContainerExists(request.container_id)
        output = Output(self._loop, self._open_log_again(request.log_path))
        output.limit_log(request.log_size_max, request.log_rate_limit, self._reporter(request.container_id))
        container = Container(request.container_id, output)
        container.bundle, container.log_path = request.bundle, request.log_path
        container.cgroup_path, container.runtime = request.cgroup_path, request.runtime
        container.state = "running" if request.started else "created"
        container.pid, container.pidfd = request.pid, os.dup(request.pidfd)
        container.stdin_fd = _keep(request.stdin_fd)
        container.console_fd = _keep(request.console_fd)
        container.seccomp_fd = _keep(request.seccomp_fd)
        for name, fd in (("stdout", request.console_fd), ("stdout", request.stdout_fd), ("stderr", request.stderr_fd)):
            if fd is not None:
                output.add(name, os.dup(fd))
        self._all[container.id] = container
        record = records.read(self.directory, container.id)
        if record is not None:  # its shim died after the container did
            container.state = "exited"
            container.status, container.finished_at = record.status, record.finished_at
            container.oom_kills = record.oom_kills
            self._server.tell(record)
        else:
            foreign.watch(self._loop, container.pid, container.pidfd, lambda status: self._exited(container, status))
        asked.reply(container.handles())

    def _reporter(self, container_id: str) -> Callable[[int], None]:
        return lambda dropped: self._server.tell(LogDropped(container_id=container_id, dropped=dropped))

    def _open_log_again(self, path: str | None) -> int | None:
        """A directory that is gone costs the log, not the container."""
        try:
            return None if path is None else open_log(path)
        except OSError as error:
            self._server.fault(error)
            return None

    def start(self, request: Request) -> None:
        container = self.get(request.key)
        by_runtime = container.runtime is not None
        if (
            container.state != "created"
            or (container.channel < 0 and not by_runtime)
            or container.starting is not None
            or container.finished_at
        ):
            state = "being started" if container.starting is not None else container.state
            raise StateError(container.id, f"cannot be started, it is {state}")
        if container.runtime is not None:
            self._start_by_runtime(container, container.runtime, request)
            return
        os.write(container.channel, _START)
        container.starting = request
        self._loop.add(container.channel, lambda _: self._start_ready(container))

    def _start_by_runtime(self, container: Container, runtime: OciRuntime, request: Request) -> None:
        """It may have exited before the runtime has ended; what the exit has changed stays so."""

        def finished(record: tuple[Any, ...] | None, _: dict[str, int]) -> None:
            container.starting = None
            if record is None:
                send_signal(container.pidfd, signal.SIGKILL)
                return
            container.started_at = time.time_ns()
            if container.state == "created":
                container.state = "running"

        self._workers.spawn(request, lambda: verbs.start(container, runtime), finished)
        container.starting = request

    def _start_ready(self, container: Container) -> None:
        """The init has executed (its end closed by that), or says why it cannot and ends."""
        request, container.starting = container.starting, None
        self._loop.remove(container.channel)
        try:
            data = buffer.read(container.channel)
        except ConnectionResetError:  # it was killed before it read our order
            data = b""
        if data[:1] == _LISTENER and request is not None:
            self._hand_over_listener(container, request, int.from_bytes(data[1:5]))
            return
        container.close_channel()
        if request is None:
            return
        if not data:
            container.state = "running"
            container.started_at = time.time_ns()
            request.done()
        elif data[:1] == _FAILED:
            error = failure(data[1:])
            container.start_status = _START_FAILED.get(error.errno, _START_FAILED_OTHERWISE) << 8
            request.fail(error)
        else:
            send_signal(container.pidfd, signal.SIGKILL)
            request.fail(StateError(container.id, f"cannot be started, its init asks for {Kind(data[:1]).name}"))

    def _hand_over_listener(self, container: Container, request: Request, number: int) -> None:
        """The init goes on when its seccomp agent has been sent the listener; the agent may take its time."""
        container.starting, container.listening = request, True

        def work() -> Outcome:
            from oci.shim.work import listener  # of no use to most containers

            return listener.hand_over(container, container.pid, container.pidfd, number)

        def finished(record: tuple[Any, ...] | None, _: dict[str, int]) -> None:
            container.listening = False
            if record is None:  # and that has been the answer
                container.starting = None
                send_signal(container.pidfd, signal.SIGKILL)
            elif container.channel < 0:
                container.starting = None
                request.fail(StateError(container.id, "cannot be started, its init has ended"))
            else:
                try:
                    os.write(container.channel, _GO)
                except ConnectionError:
                    pass  # it has ended just now, as its end of the channel tells
                self._loop.add(container.channel, lambda _: self._start_ready(container))

        self._workers.spawn(request, work, finished)

    def kill(self, request: Request, kill: Kill) -> None:
        container = self.get(kill.container_id)
        if kill.all and container.cgroup_path is not None and self._cgroups is not None:
            cgroups, number = self._cgroups, kill.signal
            self._workers.spawn(request, lambda: ending.kill_all(container, number, cgroups), nothing)
            return
        try:
            if container.state == "creating":
                # Its init goes with the worker, whose end of the channel closes.
                ending.kill_worker(container.worker)
            elif container.runtime is not None and container.state != "exited":
                runtime, number = container.runtime, kill.signal
                self._workers.spawn(request, lambda: verbs.kill(container, runtime, number), nothing)
                return
            elif container.state != "exited":
                signal.pidfd_send_signal(container.pidfd, kill.signal)
                if kill.signal == signal.SIGKILL and container.starting is None:
                    # A restored one is held by CRIU, without which it cannot even die; its holder is told by this.
                    container.close_channel()
        except ProcessLookupError:
            pass
        request.done()

    def delete(self, request: Request) -> None:
        container = self._all.get(request.key)
        if container is None:
            request.done()
            return
        if container.state != "exited" or container.worker:
            state = "being deleted" if container.state == "exited" else container.state
            raise StateError(container.id, f"cannot be deleted, it is {state}")
        if ending.remove_at_once(container, self.directory, self._cgroups):
            self._forget(container)
            request.done()
            return

        def finished(record: tuple[Any, ...] | None, _: dict[str, int]) -> None:
            container.worker = 0
            if record is not None:
                self._forget(container)

        directory, cgroups = self.directory, self._cgroups
        container.worker = self._workers.spawn(request, lambda: ending.remove(container, directory, cgroups), finished)

    def _forget(self, container: Container) -> None:
        container.output.drain()
        container.close()
        del self._all[container.id]

    def reopen_log(self, request: Request) -> None:
        container = self.get(request.key)
        if container.state == "exited":
            raise StateError(container.id, "has exited, its log is not reopened")
        if container.log_path is not None:
            container.output.replace_log(open_log(container.log_path))
        request.done()

    def resize(self, resize: Resize) -> None:
        container = self.get(resize.container_id)
        if container.console_fd is None:
            raise StateError(container.id, "has no terminal")
        termios.tcsetwinsize(container.console_fd, (resize.height, resize.width))

    def _exited(self, container: Container, wait_status: int) -> None:
        container.finished_at = time.time_ns()
        if container.starting is not None and container.channel >= 0 and not container.listening:  # first things first
            self._start_ready(container)
        status = wait_status if container.start_status is None else container.start_status
        container.status = status
        container.close_channel()
        container.output.drain()

        directory, cgroups = self.directory, self._cgroups

        def work() -> Outcome:
            return ending.record_exit(container, status, container.finished_at, directory, cgroups)

        def finished(record: tuple[Any, ...] | None, _: dict[str, int]) -> None:
            container.state = "exited"
            container.worker = 0
            container.oom_kills = 0 if record is None else record[0]
            if record is None:
                self._server.tell(container.exit_record())

        try:
            if not ending.is_quiet(container, cgroups):
                container.worker = self._workers.spawn(self._server.event(), work, finished)
                return
        except OSError:
            pass  # no process to be had: then here
        try:
            outcome = work()
        except OSError:  # no place for a record: the exit is told all the same
            finished(None, {})
            return
        if outcome.answer is not None:
            self._server.tell(outcome.answer)
        finished(outcome.record, {})


def _keep(fd: int | None) -> int | None:
    return None if fd is None else os.dup(fd)
