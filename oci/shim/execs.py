"""Exec'ed processes: started in a container, reaped, told. Their streams belong to the daemon, not to the log."""

from __future__ import annotations

import os
import signal
import termios
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from oci.engine import ExecRequest, Launch, Phase, Stdio
from oci.errors import StateError
from oci.protocol.messages import ExecExited, ExecStart, ExecStarted, ExecState
from oci.shim.container import Container
from oci.shim.creation import load_spec, read_program
from oci.shim.engine import Drive, Engine
from oci.shim.loop import Children, Loop
from oci.shim.server import Reply
from oci.shim.stdio import open_null


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exec:
    container_id: str
    pid: int
    pidfd: int
    console_fd: int | None


class Execs:
    def __init__(self, engine: Engine, loop: Loop, children: Children, tell: Callable[[ExecExited], None]) -> None:
        self._engine = engine
        self._loop = loop
        self._children = children
        self._tell = tell
        self._all: dict[str, _Exec] = {}
        self._starting: dict[str, Launch] = {}

    def start(self, container: Container, request: ExecStart, reply: Reply) -> None:
        if container.state != "running":
            raise StateError(container.id, f"is {container.state}, nothing can be executed in it")
        if request.exec_id in self._all or request.exec_id in self._starting:
            raise StateError(container.id, f"has an exec {request.exec_id!r} already")
        if container.spec is None:
            container.spec = load_spec(container.bundle)
        with ExitStack() as opened:
            launch = self._engine.launch_exec(
                ExecRequest(
                    pid=container.pid,
                    pidfd=container.pidfd,
                    process=request.process,
                    spec=container.spec,
                    stdio=None if request.process.terminal else _stdio(request, opened),
                    cgroup=container.cgroup,
                    seccomp_program=None if container.seccomp_fd is None else read_program(container.seccomp_fd),
                    container_id=container.id,
                    bundle=container.bundle,
                )
            )

        def settled(error: Exception | None) -> None:
            self._starting.pop(request.exec_id, None)
            if error is not None:
                reply.fail(error)
            else:
                reply.done(self._started(container.id, request.exec_id, launch))

        self._starting[request.exec_id] = launch
        if launch.phase is Phase.EXECUTED:
            settled(None)
        else:
            Drive(self._loop, self._children, launch, Phase.EXECUTED, settled)

    def _started(self, container_id: str, exec_id: str, launch: Launch) -> ExecStarted:
        self._all[exec_id] = _Exec(
            container_id=container_id, pid=launch.pid, pidfd=launch.pidfd, console_fd=launch.console_fd
        )
        self._children.watch(launch.pid, lambda status: self._exited(exec_id, status))
        if launch.console_fd is not None:
            os.set_blocking(launch.console_fd, False)
        return ExecStarted(pid=launch.pid, pidfd=launch.pidfd, console_fd=launch.console_fd)

    def kill(self, exec_id: str, number: int) -> None:
        """One that is over is no error: it ended while the request was on its way."""
        one = self._all.get(exec_id) or self._starting.get(exec_id)
        if one is not None:
            signal.pidfd_send_signal(one.pidfd, number)

    def resize(self, exec_id: str, *, width: int, height: int) -> None:
        one = self._all.get(exec_id)
        if one is not None and one.console_fd is not None:
            termios.tcsetwinsize(one.console_fd, (height, width))

    def describe(self) -> tuple[ExecState, ...]:
        return tuple(
            ExecState(container_id=one.container_id, exec_id=exec_id, pid=one.pid) for exec_id, one in self._all.items()
        )

    def _exited(self, exec_id: str, status: int) -> None:
        one = self._all.pop(exec_id)
        os.close(one.pidfd)
        if one.console_fd is not None:
            os.close(one.console_fd)
        self._tell(
            ExecExited(
                container_id=one.container_id, exec_id=exec_id, pid=one.pid, status=status, finished_at=time.time_ns()
            )
        )


def _stdio(request: ExecStart, opened: ExitStack) -> Stdio:
    """The daemon's descriptors; where one is missing, /dev/null."""
    given = (request.stdin_fd, request.stdout_fd, request.stderr_fd)
    null = -1
    if None in given:
        null = open_null()
        opened.callback(os.close, null)
    stdin, stdout, stderr = (null if fd is None else fd for fd in given)
    return Stdio(stdin=stdin, stdout=stdout, stderr=stderr)
