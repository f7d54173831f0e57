"""Exec'ed processes: started in a container, reaped, told. Their streams belong to the daemon, not to the log."""

from __future__ import annotations

import os
import signal
import termios
import time
from dataclasses import dataclass
from typing import Any

from oci.cgroups import CgroupDriver
from oci.errors import StateError
from oci.protocol.messages import ExecExited, ExecStart, ExecState
from oci.shim.container import Container
from oci.shim.engine import Engine
from oci.shim.loop import Children
from oci.shim.server import Reply, Server
from oci.shim.work import execution
from oci.shim.workers import Workers


@dataclass(slots=True, kw_only=True)
class _Exec:
    """`pidfd` is -1 while a worker is starting it; `doomed` is a signal that came too early."""

    container_id: str
    pid: int = 0
    pidfd: int = -1
    console_fd: int | None = None
    doomed: int = 0


class Execs:
    def __init__(
        self, engine: Engine, cgroups: CgroupDriver | None, children: Children, workers: Workers, server: Server
    ) -> None:
        self._engine = engine
        self._cgroups = cgroups
        self._children = children
        self._workers = workers
        self._server = server
        self._all: dict[str, _Exec] = {}

    def start(self, container: Container, request: ExecStart, reply: Reply) -> None:
        if container.state != "running":
            raise StateError(container.id, f"is {container.state}, nothing can be executed in it")
        exec_id = request.exec_id
        if exec_id in self._all:
            raise StateError(container.id, f"has an exec {exec_id!r} already")
        one = _Exec(container_id=container.id)
        engine, cgroups = self._engine, self._cgroups

        def finished(record: tuple[Any, ...] | None, fds: dict[str, int]) -> None:
            if record is None:
                del self._all[exec_id]
                return
            one.pid = record[0]
            one.pidfd = fds.pop("pidfd")
            one.console_fd = fds.pop("console_fd", None)
            self._children.watch(one.pid, lambda status: self._exited(exec_id, status))
            if one.doomed:
                self.kill(exec_id, one.doomed)

        self._workers.spawn(reply, lambda: execution.execute(container, request, engine, cgroups), finished)
        self._all[exec_id] = one

    def kill(self, exec_id: str, number: int) -> None:
        """One that is over is no error: it ended while the request was on its way."""
        one = self._all.get(exec_id)
        if one is None:
            return
        if one.pidfd < 0:
            one.doomed = number
            return
        try:
            signal.pidfd_send_signal(one.pidfd, number)
        except ProcessLookupError:
            pass

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
        self._server.tell(
            ExecExited(
                container_id=one.container_id, exec_id=exec_id, pid=one.pid, status=status, finished_at=time.time_ns()
            )
        )
