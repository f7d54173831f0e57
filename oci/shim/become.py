"""From a fresh fork of the launcher to a shim: nothing of the launcher stays but its memory.

Plain calls only, each for its cost in memory: what a shim calls for the first time, it gets its own copy of.
"""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from oci import syscalls
from oci.protocol.forking import ForkShim
from oci.shim.address import BACKLOG
from oci.shim.shim import Shim

NAME = "coracle-shim"


def become(shim: Shim, request: ForkShim, listener: int, peer: int, *keep: int) -> NoReturn:
    """Never returns: the process ends with the shim. The signals' dispositions are the launcher's.

    `listener` and `peer` are sockets; `keep` are the launcher's descriptors that the executor needs.
    """
    try:
        os.setsid()
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        # Its forks are born in containers' pid namespaces: nobody there may look into one before it has executed.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        _write("/proc/self/comm", NAME)
        if request.oom_score_adj is not None:
            _adjust_oom_score(request.oom_score_adj)
        _close_all_but(listener, peer, *keep)
        listening = socket.socket(fileno=listener)
        listening.listen(BACKLOG)  # SO_PEERCRED names the last process that called it
        listening.setblocking(False)
        shim.run(request, listening, socket.socket(fileno=peer))
        os._exit(0)
    finally:
        os._exit(1)


def _close_all_but(*keep: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    first = 3
    for fd in sorted(keep):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, 1 << 30)


def _adjust_oom_score(score: int) -> None:
    try:
        _write("/proc/self/oom_score_adj", str(score))
    except PermissionError:
        # Lowering takes CAP_SYS_RESOURCE, which a daemon in a container may lack: no reason to have no pod.
        pass


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
