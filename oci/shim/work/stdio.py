"""The descriptors on both sides of a container's or an exec'ed process's standard streams."""

from __future__ import annotations

import os
import stat

from oci.engine import Stdio
from oci.exits import ExitStack
from oci.spec import Linux
from oci.values import frozen


@frozen
class Pipes:
    """Our ends. The reading ones are non-blocking; the writing end of stdin is left to those who write."""

    stdout: int
    stderr: int
    stdin: int | None

    def close(self) -> None:
        for fd in (self.stdout, self.stderr, self.stdin):
            if fd is not None:
                os.close(fd)


def open_pipes(stdin: bool, theirs: ExitStack) -> tuple[Stdio, Pipes]:
    """The process's ends are closed with `theirs`; ours are the caller's once this has returned."""
    with ExitStack() as ours:
        read_fds = []
        write_fds = []
        for _ in range(2):
            reader, writer = _pipe()
            read_fds.append(_push(ours, reader))
            write_fds.append(_push(theirs, writer))
            os.set_blocking(reader, False)
        stdin_reader, stdin_writer = _pipe() if stdin else (open_null(), None)
        _push(theirs, stdin_reader)
        ours.pop_all()
        stdio = Stdio(stdin=stdin_reader, stdout=write_fds[0], stderr=write_fds[1])
        return stdio, Pipes(stdout=read_fds[0], stderr=read_fds[1], stdin=stdin_writer)


def give(stdio: Stdio, linux: Linux) -> None:
    """To the root of the container's user namespace, which could not take it by itself: to be passed on to its user."""
    if not linux.uid_mappings or not linux.gid_mappings:
        return
    for fd in (stdio.stdin, stdio.stdout, stdio.stderr):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, linux.uid_mappings[0].host_id, linux.gid_mappings[0].host_id)


def open_null() -> int:
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)


def _push(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd
