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
from oci.protocol.messages import ExecStart, ExecState
from oci.shim.container import Container
from oci.shim.engine import Engine
from oci.shim.loop import Children
from oci.shim.server import Request, Server
from oci.shim.work import execution
from oci.shim.workers import Outcome, Workers


@dataclass(slots=True, kw_only=True)
class _Exec:
    """`event` is its exit event but for the status and the time."""

    container_id: str
    pid: int = 0
    pidfd: int = -1
    console_fd: int | None = None
    event: bytes = b""


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
        self._starting = 0
        # Signals for execs that a worker is still starting.
        self._doomed: dict[str, int] = {}

    def start(self, container: Container, request: Request) -> None:
        if container.state != "running":
            raise StateError(container.id, f"is {container.state}, nothing can be executed in it")
        one = _Exec(container_id=container.id)
        engine, cgroups = self._engine, self._cgroups
        known = self._all

        def work() -> Outcome:
            start = request.read(ExecStart)
            if start.exec_id in known:
                raise StateError(container.id, f"has an exec {start.exec_id!r} already")
            return execution.execute(container, start, engine, cgroups)

        def finished(record: tuple[Any, ...] | None, fds: dict[str, int]) -> None:
            self._starting -= 1
            if record is not None:
                one.pid, exec_id, one.event = record
                one.pidfd = fds.pop("pidfd")
                one.console_fd = fds.pop("console_fd", None)
                known[exec_id] = one
                self._children.watch(one.pid, lambda status: self._exited(exec_id, status))
                number = self._doomed.pop(exec_id, 0)
                if number:
                    self.kill(exec_id, number)
            if not self._starting:
                self._doomed.clear()

        self._workers.spawn(request, work, finished)
        self._starting += 1

    def kill(self, exec_id: str, number: int) -> None:
        """One that is over is no error: it ended while the request was on its way. One may also be about to start."""
        one = self._all.get(exec_id)
        if one is None:
            if self._starting:
                self._doomed[exec_id] = number
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
        self._server.event().send(one.event % (status, time.time_ns()))
