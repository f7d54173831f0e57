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
from oci.shim.address import SOCKET_NAME
from oci.shim.containers import Containers
from oci.shim.engine import Engine
from oci.shim.execs import Execs
from oci.shim.loop import Children, Loop
from oci.shim.sandbox import Sandbox
from oci.shim.server import Reply, Server
from oci.shim.work import description
from oci.shim.workers import Workers

LOG_NAME: Final = "shim.log"
_LOG_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    sandbox_id: str
    directory: str
    engine: Engine
    cgroups: CgroupDriver | None


class Shim:
    def __init__(self, config: Config, listener: socket.socket) -> None:
        self._id = config.sandbox_id
        self._directory = directory = config.directory
        self._loop = loop = Loop(self._fault)
        children = Children(loop)
        self._server = server = Server(loop, listener, self._answer, self._fault)
        self._workers = workers = Workers(loop, children, self._fault)
        engine, cgroups = config.engine, config.cgroups
        self._sandbox = Sandbox(config.sandbox_id, directory, loop, children, workers, server.tell)
        self._containers = Containers(directory, engine, cgroups, loop, children, workers, server)
        self._execs = Execs(engine, cgroups, children, workers, server)
        self._verbs: dict[type[Message], Callable[[Any, Reply], None]] = {
            messages.Hello: self._describe,
            messages.SandboxSetup: self._sandbox.make,
            messages.AdoptSandbox: self._adopt_sandbox,
            messages.Shutdown: self._shutdown,
            messages.ContainerCreate: self._create,
            messages.AdoptContainer: self._adopt_container,
            messages.Handles: self._handles,
            messages.Start: self._start,
            messages.Kill: self._kill,
            messages.Delete: self._delete,
            messages.ReopenLog: self._reopen_log,
            messages.Resize: self._resize,
            messages.CloseStdin: self._close_stdin,
            messages.Attach: self._attach,
            messages.ExecStart: self._exec,
        }

    def run(self, peer: socket.socket) -> None:
        """Serves until told to shut down."""
        self._server.serve(peer)
        self._loop.run()

    def _answer(self, request: Message, reply: Reply) -> None:
        verb = self._verbs.get(type(request))
        if verb is None:
            raise ProtocolError(f"{request.KIND} is not a request to a shim")
        verb(request, reply)

    def _describe(self, _: messages.Hello, reply: Reply) -> None:
        known = (self._id, os.getpid(), self._sandbox.namespaces, self._containers.all(), self._execs.describe())
        self._workers.spawn(reply, lambda: description.describe(*known), _nothing)

    def _handles(self, request: messages.Handles, reply: Reply) -> None:
        container = self._containers.get(request.container_id)
        self._workers.spawn(reply, lambda: description.handles(container), _nothing)

    def _adopt_sandbox(self, request: messages.AdoptSandbox, reply: Reply) -> None:
        reply.done(self._sandbox.adopt(request))

    def _create(self, request: messages.ContainerCreate, reply: Reply) -> None:
        self._containers.create(request, self._sandbox.namespaces, reply)

    def _adopt_container(self, request: messages.AdoptContainer, reply: Reply) -> None:
        reply.done(self._containers.adopt(request).handles())

    def _start(self, request: messages.Start, reply: Reply) -> None:
        self._containers.start(request.container_id, reply)

    def _kill(self, request: messages.Kill, reply: Reply) -> None:
        if request.exec_id is not None:
            self._execs.kill(request.exec_id, request.signal)
            reply.done(Done())
        else:
            self._containers.kill(request, reply)

    def _delete(self, request: messages.Delete, reply: Reply) -> None:
        self._containers.delete(request.container_id, reply)

    def _reopen_log(self, request: messages.ReopenLog, reply: Reply) -> None:
        self._containers.reopen_log(request.container_id)
        reply.done(Done())

    def _resize(self, request: messages.Resize, reply: Reply) -> None:
        if request.exec_id is not None:
            self._execs.resize(request.exec_id, width=request.width, height=request.height)
        else:
            self._containers.resize(request.container_id, width=request.width, height=request.height)
        reply.done(Done())

    def _close_stdin(self, request: messages.CloseStdin, reply: Reply) -> None:
        self._containers.get(request.container_id).close_stdin()
        reply.done(Done())

    def _attach(self, request: messages.Attach, reply: Reply) -> None:
        self._containers.get(request.container_id).attach(request)
        reply.done(Done())

    def _exec(self, request: messages.ExecStart, reply: Reply) -> None:
        self._execs.start(self._containers.get(request.container_id), request, reply)

    def _shutdown(self, _: messages.Shutdown, reply: Reply) -> None:
        for container in self._containers.all():
            if container.state != "exited":
                raise StateError(container.id, f"is {container.state}, the shim stays")
        self._sandbox.end()
        try:
            os.unlink(f"{self._directory}/{SOCKET_NAME}")
        except FileNotFoundError:
            pass
        self._loop.stop()
        reply.done(Done())

    def _fault(self, error: BaseException) -> None:
        """What nobody foresaw goes to a file: there is nobody to tell, and the pod must go on."""
        text = "".join(traceback.format_exception(error))
        try:
            fd = os.open(f"{self._directory}/{LOG_NAME}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            if os.fstat(fd).st_size < _LOG_LIMIT:
                os.write(fd, text.encode(errors="replace"))
        except OSError:
            pass
        finally:
            os.close(fd)


def _nothing(_: tuple[Any, ...] | None, __: dict[str, int]) -> None:
    pass
