"""What the shim knows of one container, its streams included. Its life is in `containers`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from oci.cgroups import Cgroup
from oci.engine import Launch
from oci.errors import StateError
from oci.protocol.messages import Attach, ContainerExited, ContainerHandles, ContainerState
from oci.shim.log_file import LogFile
from oci.shim.loop import Loop
from oci.shim.server import Reply
from oci.shim.streams import Sink, Stream
from oci.spec import Spec


class Output:
    """The streams of a container and the log they share. With a terminal there is one stream, called stdout."""

    def __init__(self, loop: Loop, log_path: str | None) -> None:
        self._loop = loop
        self._log = None if log_path is None else LogFile(log_path)
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

    def reopen_log(self) -> None:
        if self._log is not None:
            self._log.reopen()

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
        if self._log is not None:
            self._log.close()


@dataclass(slots=True, kw_only=True)
class Container:
    """Descriptors are its own, the launch's included from "created" on.

    `starting` is where the answer to a start under way goes, `start_error` what it was if that failed.

    `spec` is there from the first exec on: most containers never need their configuration again.
    """

    id: str
    bundle: str
    log_path: str | None
    cgroup_path: str | None
    cgroup: Cgroup | None
    pid: int
    pidfd: int
    output: Output
    launch: Launch | None = None
    starting: Reply | None = None
    start_error: Exception | None = None
    stdin_fd: int | None = None
    console_fd: int | None = None
    seccomp_fd: int | None = None
    state: Literal["creating", "created", "running", "exited"] = "created"
    created_at: int = 0
    started_at: int = 0
    exit: ContainerExited | None = None
    spec: Spec | None = None

    @property
    def live_pidfd(self) -> int:
        return self.pidfd if self.launch is None else self.launch.pidfd

    def handles(self) -> ContainerHandles:
        """Borrowed from the container: valid until something else happens."""
        terminal = self.console_fd is not None
        return ContainerHandles(
            pid=self.pid,
            pidfd=self.pidfd,
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
            exit=self.exit,
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

    def close(self) -> None:
        """After `forget_launch`."""
        self.output.close()
        self.close_stdin()
        for fd in (self.pidfd, self.console_fd, self.seccomp_fd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.pidfd, self.console_fd, self.seccomp_fd = -1, None, None

    def forget_launch(self) -> None:
        """The init has executed, or is dead: only the channel may be left of the launch."""
        if self.launch is not None:
            self.launch.channel.close()
            self.launch = None
