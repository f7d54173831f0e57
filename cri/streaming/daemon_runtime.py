"""`Runtime` on top of the daemon: execs and attachments go to the pod's shim, connections into its network."""

from __future__ import annotations

import dataclasses
import os
import socket
from typing import TYPE_CHECKING

from cri.errors import FailedPrecondition
from cri.exec_process import exec_process
from cri.live import LiveContainer
from cri.shims import Shim
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord
from cri.streaming.pod_sockets import connect_localhost
from cri.streaming.tickets import AttachTicket, ExecTicket
from cri.user_namespaces import give
from oci.protocol.messages import Attach, ExecStart
from oci.spec import ConsoleSize

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.streaming.remote_command import TerminalSize
    from cri.streaming.runtime import Process, Stdio

_TERM = "TERM=xterm"


def running_container(daemon: Daemon, container_id: str) -> ContainerRecord:
    """Raises NotFound, FailedPrecondition."""
    record = daemon.containers.need(container_id)
    if record.state is not ContainerState.RUNNING:
        raise FailedPrecondition(f"container {record.id} is {record.state}, not running")
    return record


class DaemonRuntime:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    async def exec(self, ticket: ExecTicket, stdio: Stdio, size: TerminalSize | None) -> Process:
        record = running_container(self._daemon, ticket.container_id)
        process = exec_process(self._daemon, record, ticket.args, terminal=ticket.tty)
        if ticket.tty:
            has_term = any(variable.startswith("TERM=") for variable in process.env)
            process = dataclasses.replace(
                process,
                env=process.env if has_term else (*process.env, _TERM),
                console_size=None if size is None else ConsoleSize(height=size.height, width=size.width),
            )
        pipes = tuple(fd for fd in (stdio.stdin, stdio.stdout, stdio.stderr) if fd is not None)
        give(pipes, self._daemon.sandboxes.need(record.sandbox_id).namespaces)
        shim = await self._daemon.shim_of(record.sandbox_id)
        return await shim.exec(
            ExecStart(
                container_id=record.id,
                exec_id=self._daemon.new_id(),
                process=process,
                stdin_fd=stdio.stdin,
                stdout_fd=stdio.stdout,
                stderr_fd=stdio.stderr,
            )
        )

    async def attach(self, ticket: AttachTicket, stdio: Stdio) -> _Attachment:
        record = running_container(self._daemon, ticket.container_id)
        live = self._daemon.live_containers.get(record.id)
        if live is None:
            raise FailedPrecondition(f"container {record.id} is not running")
        shim = await self._daemon.shim_of(record.sandbox_id)
        if stdio.stdout is not None or stdio.stderr is not None:
            await shim.attach(Attach(container_id=record.id, stdout_fd=stdio.stdout, stderr_fd=stdio.stderr))
        return _Attachment(record, live, shim)

    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        pod = self._daemon.pods.get(sandbox_id)
        if pod is None or pod.namespaces is None:
            raise FailedPrecondition(f"sandbox {sandbox_id} is not running")
        return await connect_localhost(pod.namespaces.net_fd, port)


class _Attachment:
    """Holds duplicates: the container may end, and its descriptors be closed, while clients are attached."""

    def __init__(self, record: ContainerRecord, live: LiveContainer, shim: Shim) -> None:
        handles = live.handles
        self.is_terminal = handles.console_fd is not None
        self.stdin_once = record.config.stdin_once
        fd = handles.console_fd if self.is_terminal else handles.stdin_fd
        self.stdin_fd = None if fd is None else os.dup(fd)
        if self.stdin_fd is not None:
            os.set_blocking(self.stdin_fd, False)
        self._container_id = record.id
        self._live = live
        self._shim = shim

    async def exited(self) -> None:
        await self._live.exited.wait()

    async def close_stdin(self) -> None:
        self.close()
        fd = self._live.handles.stdin_fd
        if fd is not None:
            self._live.handles = dataclasses.replace(self._live.handles, stdin_fd=None)
            os.close(fd)
        await self._shim.close_stdin(self._container_id)

    def close(self) -> None:
        if self.stdin_fd is not None:
            os.close(self.stdin_fd)
            self.stdin_fd = None
