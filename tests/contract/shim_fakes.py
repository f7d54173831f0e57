"""A shim for tests without root: the real one, forked from here, with an executor that runs programs on the host."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from cri.shims import ContainerCreate, ContainerHandles, Shim, ShimEvent, close_descriptors
from oci import syscalls
from oci.engine import CreateRequest, ExecRequest, Launch, Phase, Stdio
from oci.handshake.channel import ChildChannel, Kind, pair
from oci.protocol.forking import ForkShim
from oci.protocol.messages import ContainerExited
from oci.shim.address import listen
from oci.shim.become import become
from oci.shim.shim import Shim as ShimProcess
from oci.shim.sockets import Socket
from oci.spec import Process


class HostEngine:
    """No namespaces, no root: `args` with `env` in this very file system, a pty where a terminal is asked for."""

    def launch_container(self, request: CreateRequest) -> Launch:
        process = request.spec.process
        assert process is not None
        return _launch(process, request.stdio, wait=True)

    def become_container(self, request: CreateRequest, own: ChildChannel, parent: Socket) -> NoReturn:
        raise AssertionError("the first process of a pid namespace is nothing to be without root")

    def become_process(self, request: ExecRequest, child: socket.socket, parent: socket.socket) -> NoReturn:
        parent.close()
        _be_child(ChildChannel(child), request.process, request.stdio, wait=False)
        os._exit(1)


def _launch(process: Process, stdio: Stdio | None, *, wait: bool) -> Launch:
    parent, child = pair()
    pid, pidfd = syscalls.clone3(0)
    if pid == 0:
        parent.close()
        try:
            _be_child(ChildChannel(child), process, stdio, wait=wait)
        finally:
            os._exit(1)
    child.close()
    launch = Launch(pid=pid, pidfd=pidfd, channel=parent)
    launch.phase = Phase.SETTING_UP if wait else Phase.FINISHING
    return launch


def _be_child(parent: ChildChannel, process: Process, stdio: Stdio | None, *, wait: bool) -> None:
    if process.args == ("refuse",):
        parent.fail("mount /proc", 1, "Operation not permitted")
        return
    if stdio is None:
        master, slave = os.openpty()
        parent.tell(Kind.CONSOLE, fd=master)
        stdio = Stdio(stdin=slave, stdout=slave, stderr=slave)
    if wait:
        parent.tell(Kind.READY)
        parent.wait(Kind.START)
    try:
        _execute(process.args, process.env, stdio)
    except OSError as error:
        parent.fail(f"exec {process.args[0]}", error.errno or 0, error.strerror or "")


def _execute(args: tuple[str, ...], env: tuple[str, ...], stdio: Stdio) -> None:
    for target, fd in enumerate((stdio.stdin, stdio.stdout, stdio.stderr)):
        os.dup2(fd, target)
    for number in (signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(args[0], args, {"PATH": "/usr/bin:/bin", **dict(item.split("=", 1) for item in env)})


@dataclass
class Pod:
    """A shim with its client, and what it told."""

    shim: Shim
    directory: Path
    events: list[ShimEvent] = field(default_factory=list)
    lost: bool = False

    def listen(self) -> None:
        self.shim.listen(on_event=self.events.append, on_lost=self._lost)

    def _lost(self) -> None:
        self.lost = True

    def bundle(self, *args: str, terminal: bool = False, text: str | None = None) -> str:
        directory = tempfile.mkdtemp(dir=self.directory)
        config = {
            "ociVersion": "1.3.0",
            "process": {"cwd": "/", "args": args, "terminal": terminal},
            "root": {"path": "rootfs"},
        }
        Path(directory, "config.json").write_text(json.dumps(config) if text is None else text)
        return directory

    async def create(
        self,
        container_id: str,
        *args: str,
        log: Path | None = None,
        stdin: bool = False,
        terminal: bool = False,
        log_size_max: int = 0,
        log_rate_limit: int = 0,
    ) -> ContainerHandles:
        return await self.shim.create(
            ContainerCreate(
                container_id=container_id,
                bundle=self.bundle(*args, terminal=terminal),
                log_path=None if log is None else str(log),
                stdin=stdin,
                log_size_max=log_size_max,
                log_rate_limit=log_rate_limit,
            )
        )

    async def run(self, container_id: str, *args: str, log: Path | None = None, log_rate_limit: int = 0) -> None:
        close_descriptors(await self.create(container_id, *args, log=log, log_rate_limit=log_rate_limit))
        await self.shim.start(container_id)

    def exit_of(self, container_id: str) -> ContainerExited | None:
        for event in self.events:
            if isinstance(event, ContainerExited) and event.container_id == container_id:
                return event
        return None


def fork_shim(directory: Path) -> tuple[int, socket.socket]:
    """(pid, our end of its first connection)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            listener = listen(str(directory))
        except OSError:
            ours.close()
            raise
        with listener:
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGCHLD, lambda *_: None)
                request = ForkShim(sandbox_id="pod", directory=str(directory))
                become(ShimProcess(HostEngine(), None), request, listener.detach(), theirs.detach())
    return pid, ours


@asynccontextmanager
async def pod(directory: Path) -> AsyncIterator[Pod]:
    pid, sock = fork_shim(directory)
    result = Pod(Shim("pod", pid, sock), directory)
    result.listen()
    try:
        yield result
    finally:
        result.shim.disconnect()
        kill_tree(pid)


def kill_tree(pid: int) -> None:
    """The shim and its children."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for one in (pid, *children):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            pass
    os.waitpid(pid, 0)
