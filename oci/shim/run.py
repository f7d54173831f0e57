"""The shim's parts put together, and which verb goes to which of them."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from oci.cgroups import CgroupDriver
from oci.errors import StateError
from oci.protocol import messages
from oci.protocol.failures import ProtocolError
from oci.protocol.messages import Done, Message
from oci.shim.containers import Containers
from oci.shim.engine import Engine
from oci.shim.execs import Execs
from oci.shim.loop import Children, Loop
from oci.shim.sandbox import Sandbox
from oci.shim.server import Reply, Server

SOCKET_NAME: Final = "shim.sock"
LOG_NAME: Final = "shim.log"
_LOG_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`keep_fds` are the launcher's descriptors that the engine needs."""

    sandbox_id: str
    directory: str
    engine: Engine
    cgroups: CgroupDriver | None
    keep_fds: tuple[int, ...] = ()


class Shim:
    def __init__(self, config: Config, listener: socket.socket) -> None:
        self._config = config
        self._loop = Loop(self._fault)
        children = Children(self._loop)
        self._server = Server(self._loop, listener, self._answer, self._fault)
        tell = self._server.tell
        directory = config.directory
        engine = config.engine
        self._sandbox = Sandbox(config.sandbox_id, directory, self._loop, children, tell)
        self._containers = Containers(directory, engine, config.cgroups, self._loop, children, tell)
        self._execs = Execs(engine, self._loop, children, tell)
        self._verbs = self._table()

    def run(self, peer: socket.socket) -> None:
        """Serves until told to shut down."""
        self._server.serve(peer)
        self._loop.run()

    def _table(self) -> dict[type[Message], Callable[[Any, Reply], None]]:
        containers = self._containers
        return {
            messages.Hello: _with(self._describe),
            messages.SandboxSetup: _with(self._sandbox.make),
            messages.AdoptSandbox: _with(self._sandbox.adopt),
            messages.Shutdown: _done(self._shutdown),
            messages.ContainerCreate: containers.create,
            messages.AdoptContainer: _with(lambda request: containers.adopt(request).handles()),
            messages.Handles: _with(lambda request: containers.get(request.container_id).handles()),
            messages.Start: lambda request, reply: containers.start(request.container_id, reply),
            messages.Kill: _done(self._kill),
            messages.Delete: _done(lambda request: containers.delete(request.container_id)),
            messages.ReopenLog: _done(lambda request: containers.reopen_log(request.container_id)),
            messages.Resize: _done(self._resize),
            messages.CloseStdin: _done(lambda request: containers.get(request.container_id).close_stdin()),
            messages.Attach: _done(lambda request: containers.get(request.container_id).attach(request)),
            messages.ExecStart: lambda request, reply: self._execs.start(
                containers.get(request.container_id), request, reply
            ),
        }

    def _answer(self, request: Message, reply: Reply) -> None:
        verb = self._verbs.get(type(request))
        if verb is None:
            raise ProtocolError(f"{request.KIND} is not a request to a shim")
        verb(request, reply)

    def _describe(self, _: messages.Hello) -> messages.ShimState:
        namespaces = self._sandbox.namespaces
        return messages.ShimState(
            sandbox_id=self._config.sandbox_id,
            pid=os.getpid(),
            net_fd=namespaces.net_fd,
            ipc_fd=namespaces.ipc_fd,
            uts_fd=namespaces.uts_fd,
            user_fd=namespaces.user_fd,
            pid_fd=namespaces.pid_fd,
            init_pidfd=namespaces.init_pidfd,
            init_pid=namespaces.init_pid,
            containers=tuple(container.describe() for container in self._containers.all()),
            execs=self._execs.describe(),
        )

    def _kill(self, request: messages.Kill) -> None:
        if request.exec_id is not None:
            self._execs.kill(request.exec_id, request.signal)
        else:
            self._containers.kill(request)

    def _resize(self, request: messages.Resize) -> None:
        if request.exec_id is not None:
            self._execs.resize(request.exec_id, width=request.width, height=request.height)
        else:
            self._containers.resize(request.container_id, width=request.width, height=request.height)

    def _shutdown(self, _: messages.Shutdown) -> None:
        for container in self._containers.all():
            if container.state != "exited":
                raise StateError(container.id, f"is {container.state}, the shim stays")
        self._sandbox.end()
        try:
            os.unlink(f"{self._config.directory}/{SOCKET_NAME}")
        except FileNotFoundError:
            pass
        self._loop.stop()

    def _fault(self, error: BaseException) -> None:
        """What nobody foresaw goes to a file: there is nobody to tell, and the pod must go on."""
        text = "".join(traceback.format_exception(error))
        try:
            fd = os.open(f"{self._config.directory}/{LOG_NAME}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if os.fstat(fd).st_size < _LOG_LIMIT:
                os.write(fd, text.encode(errors="replace"))
        except OSError:
            pass
        finally:
            os.close(fd)


def _with(verb: Callable[[Any], Message]) -> Callable[[Any, Reply], None]:
    return lambda request, reply: reply.done(verb(request))


def _done(verb: Callable[[Any], None]) -> Callable[[Any, Reply], None]:
    def answer(request: Message, reply: Reply) -> None:
        verb(request)
        reply.done(Done())

    return answer
