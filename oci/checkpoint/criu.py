"""The program criu: where it is, and one request to it (`criu swrk`: a child of ours that serves one socket and ends).

What CRIU restores with `sibling` becomes a child of the process that made the request. The work it asks us to do
meanwhile comes as notifications, each of which it waits for.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NoReturn

from oci import syscalls as sc
from oci.checkpoint import rpc
from oci.checkpoint.errors import CriuFailed
from oci.checkpoint.rpc import Answer, Options, Request
from oci.errors import Unsupported
from oci.values import record

FEATURE: Final = "checkpoint/restore"
ANNOTATION: Final = "org.criu.config"
_PLACES: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIMIT: Final = 1 << 16
_LOG_END: Final = 1 << 16


@record
class Notification:
    """`criu` is the pid of CRIU, `pid` that of the restored init where it is told, `fd` came along."""

    script: str
    pid: int
    criu: int
    fd: int | None = None

    def take(self) -> int | None:
        fd, self.fd = self.fd, None
        return fd

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


#: Raising makes CRIU give up, where it still can.
Notified = Callable[[Notification], None]


def find(path: str = "criu") -> str | None:
    """Where the program is: a path, or a name to be looked for in PATH and where root's programs are."""
    if "/" in path:
        return path if os.access(path, os.X_OK) else None
    for directory in (*os.environ.get("PATH", "").split(":"), *_PLACES.split(":")):
        candidate = f"{directory}/{path}"
        if directory.startswith("/") and os.access(candidate, os.X_OK):
            return candidate
    return None


def need(path: str = "criu") -> str:
    found = find(path)
    if found is None:
        raise Unsupported(FEATURE, f"the program {path} is not installed")
    return found


def config_file(annotations: Mapping[str, str] | None = None) -> str | None:
    """The file whose options are stronger than ours, found where the other runtimes look for it.

    CRIU executes what such a file names, as root of the host: `annotations` are only for whoever trusts their writer.
    """
    if annotations and (named := annotations.get(ANNOTATION)):
        return named
    places = ("/etc/criu/coracle.conf", "/etc/criu/crun.conf", "/etc/criu/runc.conf")
    return next((path for path in places if os.path.exists(path)), None)


def fresh_log(directory: str, name: str) -> str:
    """Where the log will be, without one of earlier; a configuration file may have it elsewhere."""
    path = os.path.join(directory, name)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    return path


class Session:
    """One request under way. CRIU is a child of the process that made this."""

    def __init__(
        self,
        program: str,
        kind: Request,
        options: Options | None,
        *,
        inherited: Iterable[int] = (),
        prepare: Callable[[], None] | None = None,
        log: str | None = None,
    ) -> None:
        """`prepare` runs in the child before it becomes CRIU."""
        self._stage = kind.name.lower().replace("_", " ")
        self._log = log
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.pid = os.fork()
            if self.pid == 0:
                _become(program, theirs, tuple(inherited), prepare)
        try:
            self.socket.send(rpc.request(kind, options))
        except ConnectionError:
            pass  # it has died; its exit and its log say why

    def next(self) -> Notification | Answer:
        """What it says next: something to be done (and to be answered by `go_on`), or its answer. Raises CriuFailed."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, _LIMIT, 1)
        except ConnectionError:
            data, fds = b"", []
        if not data:
            raise CriuFailed(self._stage, 0, _reason(self._log) or "it ended without an answer")
        answer = rpc.answer(data)
        if answer.kind == Request.NOTIFY.value:
            return Notification(script=answer.script, pid=answer.pid, criu=self.pid, fd=fds[0] if fds else None)
        if not answer.success:
            told = _causes(answer.problem.splitlines())
            number = os.strerror(answer.errno) if answer.errno else "its log says why"
            raise CriuFailed(self._stage, answer.errno, _reason(self._log) or told or number)
        return answer

    def go_on(self, *, success: bool = True) -> None:
        try:
            self.socket.send(rpc.notified(success=success), socket.MSG_NOSIGNAL)
        except ConnectionError:
            pass  # `next` says more

    def finish(self, notified: Notified | None = None) -> Answer:
        """Its answer, with what it asks for done by `notified`; what that raises is raised when CRIU has given up."""
        problem: BaseException | None = None
        while True:
            try:
                told = self.next()
            except CriuFailed:
                if problem is not None:
                    raise problem from None
                raise
            if isinstance(told, Answer):
                if problem is not None:
                    raise problem
                return told
            try:
                if notified is not None:
                    notified(told)
            except BaseException as error:
                problem = problem or error
            told.close()
            self.go_on(success=problem is None)

    def close(self) -> None:
        """Waits for CRIU, which ends with its socket."""
        self.socket.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # somebody else's child by now


def ask(
    program: str,
    kind: Request,
    options: Options | None,
    *,
    inherited: Iterable[int] = (),
    prepare: Callable[[], None] | None = None,
    log: str | None = None,
) -> Answer:
    """A whole request, for which nothing has to be done meanwhile. Raises CriuFailed."""
    session = Session(program, kind, options, inherited=inherited, prepare=prepare, log=log)
    try:
        return session.finish()
    finally:
        session.close()


def _become(
    program: str, theirs: socket.socket, inherited: tuple[int, ...], prepare: Callable[[], None] | None
) -> NoReturn:
    """The child's part: everything but the channel and what CRIU is to find is closed."""
    try:
        # What a shim ignores would be ignored by CRIU's helpers too, which it ends by signals.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if signal.getsignal(number) is not None:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if prepare is not None:
            prepare()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        kept = {fd for fd in inherited if fd > 2}
        channel = theirs.fileno()
        kept.add(channel)
        sc.close_range(3, flags=sc.CLOSE_RANGE_CLOEXEC)
        for fd in kept:
            os.set_inheritable(fd, True)
        environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{_PLACES}".strip(":")}
        os.execve(program, [program, "swrk", str(channel)], environment)
    except BaseException as error:
        os.write(2, f"coracle: cannot become {program}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def _reason(log: str | None) -> str:
    """The first error of the log, which is the cause of those that follow."""
    if log is None:
        return ""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_END))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return _causes(lines)


def _causes(lines: Sequence[str]) -> str:
    """The first error; not the one that every CRIU without CAP_SYS_RESOURCE meets and goes on after."""
    errors = [line for line in lines if "Error (" in line and "RLIMIT_NOFILE" not in line]
    return (errors[0].partition("): ")[2] or errors[0]).strip() if errors else ""
