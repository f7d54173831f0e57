"""Exec'ed processes: started in a container, reaped, told. Their streams belong to the daemon, not to the log.

    start ──fork──► starting ──executed──► running ──exits──► (told, gone)
                       └──────failed──────► (answered, gone)

The fork is born in the container's pid namespace (and, on cgroup v2, in its cgroup) and becomes the process itself.
"""

from __future__ import annotations

import os
import signal
import socket
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from oci import syscalls
from oci.cgroups import CgroupDriver
from oci.errors import StateError
from oci.handshake.channel import Kind, failure
from oci.protocol.messages import ExecStart, ExecState, OciRuntime
from oci.protocol.packet import exec_exited_template, pack_exec_started
from oci.shim import buffer, sockets
from oci.shim.container import Container
from oci.shim.engine import Engine
from oci.shim.handlers import verbs
from oci.shim.loop import Children, Loop
from oci.shim.server import Request, Server
from oci.shim.sockets import Socket
from oci.shim.work import execution
from oci.shim.workers import Outcome, Workers
from oci.signals import send_signal

_ANCILLARY: Final = socket.CMSG_SPACE(4)


class _Exec:
    """`channel` is there until it has executed, `request` is the one to answer then. `listening`: it waits for its
    seccomp agent."""

    __slots__ = ("channel", "console_fd", "container", "exec_id", "listening", "pid", "pidfd", "request")

    def __init__(
        self, container: Container, exec_id: str, pid: int, pidfd: int, request: Request, channel: Socket | None
    ) -> None:
        self.container = container
        self.listening = False
        self.exec_id = exec_id
        self.pid = pid
        self.pidfd = pidfd
        self.request = request
        self.channel = channel
        self.console_fd: int | None = None


class Execs:
    def __init__(
        self,
        engine: Engine,
        cgroups: CgroupDriver | None,
        loop: Loop,
        children: Children,
        workers: Workers,
        server: Server,
    ) -> None:
        self._engine = engine
        self._cgroups = cgroups
        self._loop = loop
        self._children = children
        self._workers = workers
        self._server = server
        self._all: dict[str, _Exec] = {}
        self._doomed: dict[str, int] = {}  # execs that a runtime is making -> the signal that came too early
        self._own_pid_namespace = -1

    def start(self, container: Container, exec_id: str, request: Request) -> None:
        if container.state != "running":
            raise StateError(container.id, f"is {container.state}, nothing can be executed in it")
        if exec_id in self._all or exec_id in self._doomed:
            raise StateError(container.id, f"has an exec {exec_id!r} already")
        if container.runtime is not None:
            self._start_by_runtime(container, container.runtime, exec_id, request)
            return
        ours, theirs = sockets.pair()
        try:
            pid, pidfd = self._fork(container, request, theirs, ours)
        except OSError as error:
            ours.close()
            raise StateError(container.id, f"cannot be entered: {error.strerror}") from None
        finally:
            theirs.close()
        one = _Exec(container, exec_id, pid, pidfd, request, ours)
        self._all[exec_id] = one
        self._children.watch(pid, lambda status: self._exited(one, status))
        self._loop.add(ours.fileno(), lambda _: self._said(one))

    def _start_by_runtime(self, container: Container, runtime: OciRuntime, exec_id: str, request: Request) -> None:
        def work() -> Outcome:
            start = request.read(ExecStart)
            return verbs.execute(container, runtime, start.process, execution.stdio_of(start))

        def finished(record: tuple[Any, ...] | None, fds: dict[str, int]) -> None:
            number = self._doomed.pop(exec_id)
            if record is None:
                return
            one = _Exec(container, exec_id, record[0], fds.pop("pidfd"), request, None)
            one.console_fd = fds.pop("console_fd", None)
            self._all[exec_id] = one
            if number:
                self.kill(exec_id, number)
            self._children.watch(one.pid, lambda status: self._exited(one, status))

        self._workers.spawn(request, work, finished)
        self._doomed[exec_id] = 0

    def kill(self, exec_id: str, number: int) -> None:
        """One that is over is no error: it ended while the request was on its way."""
        one = self._all.get(exec_id)
        if one is not None:
            send_signal(one.pidfd, number)
        elif exec_id in self._doomed:
            self._doomed[exec_id] = number

    def resize(self, exec_id: str, *, width: int, height: int) -> None:
        one = self._all.get(exec_id)
        if one is not None and one.console_fd is not None:
            termios.tcsetwinsize(one.console_fd, (height, width))

    def describe(self) -> tuple[ExecState, ...]:
        return tuple(
            ExecState(container_id=one.container.id, exec_id=exec_id, pid=one.pid) for exec_id, one in self._all.items()
        )

    def _fork(self, container: Container, request: Request, theirs: Socket, ours: Socket) -> tuple[int, int]:
        into = None
        # On v1 nobody is born into a cgroup: the fork enters it by itself.
        if container.cgroup_path is not None and self._cgroups is not None and self._cgroups.name != "v1":
            into = self._cgroups.open(container.cgroup_path).into_fd()
        try:
            with self._born_in(container.pidfd):
                pid, pidfd = syscalls.clone3(0, cgroup_fd=into)
                if pid == 0:  # and never comes back here
                    execution.become(container, request, self._engine, self._cgroups, theirs, ours)
            return pid, pidfd
        finally:
            if into is not None:
                os.close(into)

    @contextmanager
    def _born_in(self, pidfd: int) -> Iterator[None]:
        """Children forked inside are born in that process's pid namespace; this process itself stays where it is."""
        if self._own_pid_namespace < 0:
            self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(pidfd, syscalls.CLONE_NEWPID)
        try:
            yield
        finally:
            syscalls.setns(self._own_pid_namespace, syscalls.CLONE_NEWPID)

    def _said(self, one: _Exec) -> None:
        """What the fork has to say on its way."""
        if one.channel is None:
            return
        data, fd = _receive(one.channel)
        if fd is not None:  # the terminal's master; more will come
            os.set_blocking(fd, False)
            one.console_fd = fd
            return
        self._loop.remove(one.channel.fileno())
        if data[:1] == Kind.LISTENER.value:
            self._hand_over_listener(one, one.channel, int.from_bytes(data[1:5]))
            return
        one.channel.close()
        one.channel = None
        if not data:
            fds = (one.pidfd,) if one.console_fd is None else (one.pidfd, one.console_fd)
            one.request.send(pack_exec_started(one.request.id, one.pid, terminal=len(fds) == 2), fds)
            return
        del self._all[one.exec_id]
        if data[:1] == execution.REFUSED:
            one.request.send(data[1:])
        elif data[:1] == Kind.FAILED.value:
            one.request.fail(failure(data[1:]))
        else:
            send_signal(one.pidfd, signal.SIGKILL)
            one.request.fail(StateError(one.container.id, f"exec asks for {data[:1]!r}, which nobody here can do"))

    def _hand_over_listener(self, one: _Exec, channel: Socket, number: int) -> None:
        """It goes on when its seccomp agent has been sent the listener."""
        one.listening = True

        def work() -> Outcome:
            from oci.shim.work import listener  # of no use to most containers

            return listener.hand_over(one.container, one.pid, one.pidfd, number)

        def finished(record: tuple[Any, ...] | None, _: dict[str, int]) -> None:
            one.listening = False
            if one.exec_id in self._all and record is not None:
                try:
                    channel.send(Kind.GO.value)
                except ConnectionError:
                    pass  # it has ended just now, as its end of the channel tells
                self._loop.add(channel.fileno(), lambda _: self._said(one))
                return
            channel.close()
            one.channel = None
            if record is not None:
                one.request.fail(StateError(one.container.id, f"exec {one.exec_id} ended before it was started"))
            elif self._all.pop(one.exec_id, None) is not None:  # and that has been the answer
                send_signal(one.pidfd, signal.SIGKILL)

        self._workers.spawn(one.request, work, finished)

    def _exited(self, one: _Exec, status: int) -> None:
        if one.listening:  # never started, so there is nothing to tell but that
            del self._all[one.exec_id]
        while (
            one.channel is not None and not one.listening
        ):  # first things first; it can say no more, so this comes to an end
            self._said(one)
        if self._all.pop(one.exec_id, None) is not None:
            event = exec_exited_template(one.container.id, one.exec_id, one.pid)
            self._server.event().send(event % (status, time.time_ns()))
        os.close(one.pidfd)
        if one.console_fd is not None:
            os.close(one.console_fd)


def _receive(channel: Socket) -> tuple[bytes, int | None]:
    """A message, and the descriptor of a CONSOLE message."""
    data, control, _ = buffer.receive(channel, _ANCILLARY)
    return data, int.from_bytes(control[0][2][:4], "little") if control else None
