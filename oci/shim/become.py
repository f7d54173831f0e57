"""From a fresh fork of the launcher to a shim: nothing of the launcher stays but its memory."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

from oci import syscalls
from oci.shim.run import Config, Shim

NAME = "coracle-shim"
BACKLOG = 8


def become(config: Config, listener: socket.socket, peer: socket.socket, oom_score_adj: int | None) -> NoReturn:
    """Never returns: the process ends with the shim."""
    try:
        _leave_launcher(listener, peer, config.keep_fds)
        shim = Shim(config, listener)
        if oom_score_adj is not None:
            _attempt(lambda: _write("/proc/self/oom_score_adj", str(oom_score_adj)))
        shim.run(peer)
        os._exit(0)
    except BaseException:
        os._exit(1)


def _leave_launcher(listener: socket.socket, peer: socket.socket, keep_fds: tuple[int, ...]) -> None:
    signal.set_wakeup_fd(-1)
    # A shim ends when it is told to by its socket, or by SIGKILL; executed programs get the defaults back.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    listener.listen(BACKLOG)  # SO_PEERCRED names the last process that called it
    syscalls.set_process_name(NAME)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    first = 3
    for fd in sorted((listener.fileno(), peer.fileno(), *keep_fds)):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first)


def _attempt(action: Callable[[], None]) -> None:
    # Lowering the score takes CAP_SYS_RESOURCE, which a daemon in a container may lack: no reason to have no pod.
    syscalls.supported(action)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
