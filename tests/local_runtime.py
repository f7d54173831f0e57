"""`cri.streaming.runtime.Runtime` with processes of this machine instead of containers: needs no root and no daemon."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import subprocess
from dataclasses import dataclass, field

from cri.errors import FailedPrecondition
from cri.streaming.pod_sockets import connect_localhost
from cri.streaming.remote_command import TerminalSize
from cri.streaming.runtime import Attachment, Process, Stdio
from cri.streaming.terminal import resize
from cri.streaming.tickets import AttachTicket, ExecTicket


class LocalProcess:
    """Like the shim, its runtime keeps another descriptor of the terminal's master."""

    def __init__(self, process: subprocess.Popen[bytes], console_fd: int | None) -> None:
        self.process = process
        self.console_fd = console_fd
        self.closed = asyncio.Event()

    async def wait(self) -> int:
        code = await asyncio.to_thread(self.process.wait)
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        self.closed.set()
        if self.console_fd is not None:
            os.close(self.console_fd)
            self.console_fd = None


@dataclass(slots=True)
class LocalContainer:
    """What there is to attach to: the test is the container, and writes to `outputs`."""

    stdin_fd: int | None = None
    is_terminal: bool = False
    stdin_once: bool = False
    outputs: Stdio = field(default_factory=Stdio)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    stdin_closed: bool = False
    attached: asyncio.Event = field(default_factory=asyncio.Event)
    detached: asyncio.Event = field(default_factory=asyncio.Event)

    async def exited(self) -> None:
        await self.ended.wait()

    async def close_stdin(self) -> None:
        self.stdin_closed = True
        if self.stdin_fd is not None:
            os.close(self.stdin_fd)
            self.stdin_fd = None

    def close(self) -> None:
        self.detached.set()


class LocalRuntime:
    def __init__(self) -> None:
        self.processes: list[LocalProcess] = []
        self.masters: list[int] = []
        self.container: LocalContainer | None = None

    async def exec(self, ticket: ExecTicket, stdio: Stdio, size: TerminalSize | None) -> Process:
        process = self._with_terminal(ticket.args, size) if ticket.tty else self._with_pipes(ticket.args, stdio)
        self.processes.append(process)
        return process

    def _with_pipes(self, args: tuple[str, ...], stdio: Stdio) -> LocalProcess:
        stdin, stdout, stderr = (
            subprocess.DEVNULL if fd is None else fd for fd in (stdio.stdin, stdio.stdout, stdio.stderr)
        )
        return LocalProcess(subprocess.Popen(args, stdin=stdin, stdout=stdout, stderr=stderr), None)

    def _with_terminal(self, args: tuple[str, ...], size: TerminalSize | None) -> LocalProcess:
        master, slave = pty.openpty()
        if size is not None:
            resize(master, size)
        command = ("setsid", "--ctty", "--wait", *args)
        popen = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        os.set_blocking(master, False)
        self.masters.append(os.dup(master))
        return LocalProcess(popen, master)

    async def attach(self, ticket: AttachTicket, stdio: Stdio) -> Attachment:
        if self.container is None:
            raise FailedPrecondition(f"container {ticket.container_id} is exited, not running")
        self.container.outputs = Stdio(
            stdout=None if stdio.stdout is None else os.dup(stdio.stdout),
            stderr=None if stdio.stderr is None else os.dup(stdio.stderr),
        )
        self.container.attached.set()
        return self.container

    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        if sandbox_id != "pod":
            raise FailedPrecondition(f"sandbox {sandbox_id} is not running")
        return await connect_localhost(None, port)

    def close(self) -> None:
        for process in self.processes:
            process.process.kill()
            process.process.wait()
        for master in self.masters:
            os.close(master)
