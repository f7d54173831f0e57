"""A pod's user namespace: a process of its own lives in it for a moment and makes there what it shall own.

The way:
    worker                                   child, in the new namespace
    clone3(NEWUSER) ───────────────────────►
    id mappings written ── "go" ───────────► becomes its root, does `inside`
    opens /proc/CHILD/ns/* ◄── the result ── waits
    kills it
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from oci import syscalls
from oci.engine.userns import write_mappings
from oci.exits import ExitStack
from oci.spec import IdMapping


@contextmanager
def made(
    uids: Sequence[IdMapping], gids: Sequence[IdMapping], inside: Callable[[], int | None]
) -> Iterator[tuple[int, int | None]]:
    """The pid of a process that is root of a new user namespace, and the pid that `inside` returned there.

    What `inside` forked is an orphan afterwards: the nearest subreaper's. Raises OSError, also `inside`'s.
    """
    with ExitStack() as opened:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        opened.callback(ours.close)
        try:
            pid, pidfd = syscalls.clone3(syscalls.CLONE_NEWUSER)
        except OSError as error:
            theirs.close()
            raise OSError(error.errno, f"make a user namespace: {error.strerror}") from None
        if pid == 0:
            ours.close()
            _main(theirs, inside)
        theirs.close()
        opened.callback(_end, pid, pidfd)
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, proc)
        write_mappings(proc, pid, uids, gids)
        ours.send(b"go")
        yield pid, _result(ours.recv(4096))


def _main(theirs: socket.socket, inside: Callable[[], int | None]) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        if theirs.recv(16) != b"go":
            os._exit(1)
        os.setgroups(())
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        theirs.send(f"ok {inside() or 0}".encode())
        theirs.recv(16)  # until we are killed, or the worker is gone
    except OSError as error:
        text = str(error.strerror) + (f": {error.filename}" if error.filename is not None else "")
        theirs.send(f"{error.errno or 0} {text}".encode())
    finally:
        os._exit(1)


def _result(answer: bytes) -> int | None:
    word, _, rest = answer.decode(errors="replace").partition(" ")
    if word == "ok":
        return int(rest) or None
    raise OSError(int(word or 0), rest or "the process in the pod's user namespace died")


def _end(pid: int, pidfd: int) -> None:
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    os.waitpid(pid, 0)
