"""Runs a runtime's executable to its end. Its word on what went wrong comes from its log, which runtimes write as JSON
lines (`--log-format json`)."""

from __future__ import annotations

import array
import errno
import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from oci.engine import Stdio
from oci.errors import ContainerError
from oci.exits import ExitStack
from oci.protocol.messages import OciRuntime

_DEFAULTS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
_MISSING = ("executable file not found", "no such file or directory", "not found in $path")
_LOG_LIMIT = 64 << 10


def run(runtime: OciRuntime, verb: str, arguments: Sequence[str], directory: str, stdio: Stdio | None = None) -> None:
    """`RUNTIME --root ROOT VERB ARGUMENTS`. Raises ContainerError when it fails. `directory` is for its log.

    Without `stdio` it has /dev/null.
    """
    log = f"{directory}/{verb}-{os.getpid()}.log"
    name = os.path.basename(runtime.path)
    command = [runtime.path, "--root", runtime.root, "--log", log, "--log-format", "json", verb, *arguments]
    try:
        status = os.waitstatus_to_exitcode(_wait(runtime.path, command, stdio))
        if status != 0:
            message = _last_error(log) or f"ended with status {status}"
            missing = any(words in message.lower() for words in _MISSING)
            raise ContainerError(f"{name} {verb}", errno.ENOENT if missing else 0, message)
    finally:
        remove(log)


def _wait(path: str, command: list[str], stdio: Stdio | None) -> int:
    with ExitStack() as opened:
        if stdio is None:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, null)
            stdio = Stdio(stdin=null, stdout=null, stderr=null)
        actions = [
            (os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate((stdio.stdin, stdio.stdout, stdio.stderr))
        ]
        try:
            pid = os.posix_spawn(path, command, os.environ, file_actions=actions, setsigdef=_DEFAULTS, setsigmask=())
        except OSError as error:
            raise ContainerError(f"run {path}", error.errno or 0, error.strerror or str(error)) from None
        return os.waitpid(pid, 0)[1]


def _last_error(log: str) -> str:
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = file.read(_LOG_LIMIT).splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            return str(entry.get("msg", ""))
    return ""


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


class Console:
    """A socket on which the runtime hands over the master of a terminal. `path` is short, wherever the bundle lies."""

    def __init__(self, path: str, listener: socket.socket) -> None:
        self.path = path
        self._listener = listener

    def receive(self) -> int:
        """The master, once the runtime has ended well. Raises ContainerError when it has sent none."""
        try:
            peer, _ = self._listener.accept()
        except BlockingIOError:
            raise ContainerError("receive the terminal", 0, "the runtime has sent none") from None
        with peer:
            peer.setblocking(True)
            _, control, _, _ = peer.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        for _level, _kind, content in control:
            return array.array("i", content)[0]
        raise ContainerError("receive the terminal", 0, "the runtime has sent no descriptor")


@contextmanager
def console(directory: str) -> Iterator[Console]:
    name = f"console-{os.getpid()}.sock"
    with ExitStack() as opened:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, fd)
        path = f"/proc/{os.getpid()}/fd/{fd}/{name}"
        listener = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(path)
        opened.callback(remove, f"{directory}/{name}")
        listener.listen(1)
        listener.setblocking(False)
        yield Console(path, listener)
