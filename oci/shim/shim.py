"""The shim's parts put together, and which verb goes to which of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from oci.cgroups import CgroupDriver
from oci.errors import StateError
from oci.protocol import messages
from oci.protocol.failures import ProtocolError
from oci.protocol.forking import ForkShim
from oci.shim.address import SOCKET_NAME
from oci.shim.containers import Containers
from oci.shim.description import describe
from oci.shim.engine import Engine
from oci.shim.execs import Execs
from oci.shim.loop import Children, Loop
from oci.shim.sandbox import Sandbox
from oci.shim.server import Request, Server
from oci.shim.sockets import Socket
from oci.shim.workers import Outcome, Workers, nothing

LOG_NAME: Final = "shim.log"
_LOG_LIMIT: Final = 1 << 20


class Shim:
    """Made by the launcher before it forks: what is made before is shared. `run` is the fork's."""

    def __init__(self, engine: Engine, cgroups: CgroupDriver | None) -> None:
        self._directory = ""
        self._loop = loop = Loop(self._fault)
        self._children = children = Children(loop)
        self._server = server = Server(loop, self._answer, self._fault)
        self._workers = workers = Workers(loop, children, self._fault)
        self._sandbox = Sandbox(loop, children, workers, server.tell)
        self._containers = Containers(engine, cgroups, loop, children, workers, server)
        self._execs = Execs(engine, cgroups, loop, children, workers, server)
        self._verbs: dict[bytes, Callable[[Request], None]] = {
            b"hello": self._describe,
            b"setup": self._sandbox.make,
            b"adopt_sandbox": self._sandbox.adopt,
            b"shutdown": self._shutdown,
            b"create": self._create,
            b"adopt_container": self._containers.adopt,
            b"get_handles": self._handles,
            b"start": self._containers.start,
            b"kill": self._kill,
            b"delete": self._containers.delete,
            b"checkpoint": self._checkpoint,
            b"reopen_log": self._containers.reopen_log,
            b"resize": self._resize,
            b"close_stdin": self._close_stdin,
            b"attach": self._attach,
            b"exec": self._exec,
        }

    def run(self, request: ForkShim, listener: int, peer: Socket) -> None:
        """Serves until told to shut down."""
        self._directory = self._sandbox.directory = self._containers.directory = request.directory
        self._sandbox.id = request.sandbox_id
        self._loop.open()
        self._children.open()
        self._server.listen(listener)
        self._server.serve(peer)
        self._loop.run()

    def rest_with(self, rest: Callable[[], object]) -> None:
        """What the shim does when it has nothing to do."""
        self._loop.rest_with(rest)

    def stop_with(self, pid: int) -> None:
        """For a rehearsal: the daemon is our child, and `run` returns at the latest when it ends."""
        self._children.watch(pid, lambda _: self._loop.stop())

    def end_rehearsal(self) -> None:
        self._children.close()
        self._loop.close()

    def _answer(self, request: Request) -> None:
        verb = self._verbs.get(request.kind)
        if verb is None:
            raise ProtocolError(f"{request.kind.decode(errors='replace')!r} is not a request to a shim")
        verb(request)

    def _describe(self, request: Request) -> None:
        sandbox, containers, execs = self._sandbox, self._containers.all(), self._execs.describe()
        request.reply(describe(sandbox, os.getpid(), containers, execs))

    def _handles(self, request: Request) -> None:
        request.reply(self._containers.get(request.key).handles())

    def _create(self, request: Request) -> None:
        self._containers.create(request, self._sandbox)

    def _exec(self, request: Request) -> None:
        container_id, _, exec_id = request.key.partition("/")
        self._execs.start(self._containers.get(container_id), exec_id, request)

    def _kill(self, request: Request) -> None:
        kill = request.read(messages.Kill)
        if kill.exec_id is not None:
            self._execs.kill(kill.exec_id, kill.signal)
            request.done()
        else:
            self._containers.kill(request, kill)

    def _checkpoint(self, request: Request) -> None:
        sandbox = self._sandbox

        def work() -> Outcome:
            from oci.shim.work import checkpoint  # of no use in a pod that is never checkpointed

            return checkpoint.dump(request.read(messages.Checkpoint), container, sandbox.namespaces())

        container = self._containers.get(request.key)
        self._workers.spawn(request, work, nothing)

    def _resize(self, request: Request) -> None:
        resize = request.read(messages.Resize)
        if resize.exec_id is not None:
            self._execs.resize(resize.exec_id, width=resize.width, height=resize.height)
        else:
            self._containers.resize(resize)
        request.done()

    def _close_stdin(self, request: Request) -> None:
        self._containers.get(request.key).close_stdin()
        request.done()

    def _attach(self, request: Request) -> None:
        self._containers.get(request.key).attach(request.read(messages.Attach))
        request.done()

    def _shutdown(self, request: Request) -> None:
        for container in self._containers.all():
            if container.state != "exited":
                raise StateError(container.id, f"is {container.state}, the shim stays")
        self._sandbox.end()
        try:
            os.unlink(f"{self._directory}/{SOCKET_NAME}")
        except FileNotFoundError:
            pass
        self._loop.stop()
        request.done()

    def _fault(self, error: BaseException) -> None:
        """What nobody foresaw goes to a file: there is nobody to tell, and the pod must go on."""
        text = _story(error)
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


def _story(error: BaseException | None) -> str:
    """A traceback without source lines: the module that reads those brings a compiler's tables along."""
    lines: list[str] = []
    while error is not None:
        place = error.__traceback__
        while place is not None:
            code = place.tb_frame.f_code
            lines.append(f'  File "{code.co_filename}", line {place.tb_lineno}, in {code.co_qualname}\n')
            place = place.tb_next
        lines.append(f"{type(error).__name__}: {error}\n")
        error = error.__cause__ or error.__context__
    return "".join(lines)
