"""What the shim knows of one container, its streams included. Its life is in `containers`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

from oci.errors import StateError
from oci.protocol.messages import Attach, ContainerExited, ContainerHandles, ContainerState, OciRuntime
from oci.shim.limited_log import LimitedLog
from oci.shim.log_file import LogFile
from oci.shim.loop import Loop
from oci.shim.server import Request
from oci.shim.streams import Sink, Stream


class Output:
    """The streams of a container and the log they share. With a terminal there is one stream, called stdout."""

    __slots__ = ("_log", "_loop", "_streams")

    def __init__(self, loop: Loop, log_fd: int | None) -> None:
        """Takes the log's descriptor over; without one, output is thrown away."""
        self._loop = loop
        self._log = None if log_fd is None else LogFile(log_fd)
        self._streams: dict[str, Stream] = {}

    def add(self, name: str, fd: int) -> None:
        """Takes the descriptor over."""
        self._streams[name] = Stream(self._loop, name, fd, self._log)

    def fd(self, name: str) -> int | None:
        stream = self._streams.get(name)
        return None if stream is None or stream.at_end else stream.fd

    def attach(self, name: str, fd: int, limit: int) -> None:
        """Takes the descriptor over; it is closed at once when the stream has ended."""
        sink = Sink(self._loop, fd, limit)
        stream = self._streams.get(name)
        if stream is None or stream.at_end:
            sink.finish()
        else:
            stream.attach(sink)

    def drain(self) -> None:
        for stream in self._streams.values():
            stream.drain()
        if self._log is not None:
            self._log.settle()

    def replace_log(self, fd: int) -> None:
        """Takes the descriptor over."""
        if self._log is None:
            self._log = LogFile(fd)
        else:
            self._log.replace(fd)

    def limit_log(self, size_max: int, rate_limit: int, report: Callable[[int], None]) -> None:
        """Before there are streams; the log file itself may have come already."""
        if self._log is not None and (size_max or rate_limit):
            self._log = LimitedLog(self._log.detach(), size_max=size_max, rate_limit=rate_limit, report=report)

    @property
    def dropped_bytes(self) -> int:
        return 0 if self._log is None else self._log.dropped_bytes

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
        if self._log is not None:
            self._log.settle()
            self._log.close()


class Container:
    """Descriptors are its own; -1 and None: not there.

    `channel` leads to an init that waits for its start. `starting` is where the answer to a start under way goes,
    `listening` says that the start waits for a seccomp agent, `start_status` is the exit status of one that failed.
    `worker` is the process that works on the container, or 0. `runtime` runs it where our executor does not.
    """

    __slots__ = (
        "bundle",
        "cgroup_path",
        "channel",
        "console_fd",
        "created_at",
        "finished_at",
        "id",
        "listening",
        "log_path",
        "oom_kills",
        "output",
        "pid",
        "pidfd",
        "runtime",
        "seccomp_fd",
        "start_status",
        "started_at",
        "starting",
        "state",
        "status",
        "stdin_fd",
        "worker",
    )

    def __init__(self, id: str, output: Output) -> None:
        self.id = id
        self.output = output
        self.bundle = ""
        self.log_path: str | None = None
        self.cgroup_path: str | None = None
        self.runtime: OciRuntime | None = None
        self.state: Literal["creating", "created", "running", "exited"] = "creating"
        self.worker = 0
        self.pid = 0
        self.pidfd = -1
        self.channel = -1
        self.stdin_fd: int | None = None
        self.console_fd: int | None = None
        self.seccomp_fd: int | None = None
        self.starting: Request | None = None
        self.listening = False
        self.start_status: int | None = None
        self.created_at = 0
        self.started_at = 0
        self.status = 0
        self.finished_at = 0
        self.oom_kills = 0

    def handles(self) -> ContainerHandles:
        """Borrowed from the container: valid until something else happens."""
        terminal = self.console_fd is not None
        return ContainerHandles(
            pid=self.pid,
            pidfd=self.pidfd if self.pidfd >= 0 else None,
            stdout_fd=None if terminal else self.output.fd("stdout"),
            stderr_fd=None if terminal else self.output.fd("stderr"),
            stdin_fd=self.stdin_fd,
            console_fd=self.console_fd,
            seccomp_fd=self.seccomp_fd,
        )

    def describe(self) -> ContainerState:
        return ContainerState(
            container_id=self.id,
            pid=self.pid,
            state=self.state,
            bundle=self.bundle,
            log_path=self.log_path,
            cgroup_path=self.cgroup_path,
            terminal=self.console_fd is not None,
            created_at=self.created_at,
            started_at=self.started_at,
            log_dropped=self.output.dropped_bytes,
            exit=self.exit_record() if self.state == "exited" else None,
        )

    def exit_record(self) -> ContainerExited:
        return ContainerExited(
            container_id=self.id,
            pid=self.pid,
            status=self.status,
            finished_at=self.finished_at,
            oom_kills=self.oom_kills,
            log_dropped=self.output.dropped_bytes,
        )

    def attach(self, request: Attach) -> None:
        if self.state == "exited":
            raise StateError(self.id, "has exited")
        for name, fd in (("stdout", request.stdout_fd), ("stderr", request.stderr_fd)):
            if fd is not None:
                self.output.attach(name, os.dup(fd), request.buffer)

    def close_stdin(self) -> None:
        if self.stdin_fd is not None:
            os.close(self.stdin_fd)
            self.stdin_fd = None

    def close_channel(self) -> None:
        if self.channel >= 0:
            os.close(self.channel)
            self.channel = -1

    def close(self) -> None:
        self.output.close()
        self.close_stdin()
        self.close_channel()
        for fd in (self.pidfd, self.console_fd, self.seccomp_fd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.pidfd, self.console_fd, self.seccomp_fd = -1, None, None
