"""From a fresh fork of the launcher to a shim: nothing of the launcher stays but its memory.

What runs here has never run in the launcher, so the interpreter does not know the way yet: every attribute it has to
look up costs a page or two of the shim's own. Hence plain names, and C functions as far as they go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import O_RDWR, O_WRONLY, _exit, closerange, devnull, dup2, open, setsid, write
from typing import NoReturn

from oci.protocol.forking import ForkShim
from oci.shim.address import BACKLOG
from oci.shim.shim import Shim
from oci.shim.sockets import Socket
from oci.syscalls import become_subreaper

NAME = b"coracle-shim"


def become(shim: Shim, request: ForkShim, listener: int, peer: int, *keep: int) -> NoReturn:
    """Never returns: the process ends with the shim. The signals' dispositions are the launcher's.

    So is the OOM score, and that it is not dumpable: its forks are born in containers' pid namespaces, and nobody there
    may look into one before it has executed.

    `listener` and `peer` are sockets; `keep` are the launcher's descriptors that the executor needs.
    """
    try:
        setsid()
        become_subreaper()
        comm = open("/proc/self/comm", O_WRONLY)
        write(comm, NAME)
        null = open(devnull, O_RDWR)
        for fd in 0, 1, 2:
            dup2(null, fd)
        close_all_but((listener, peer, *keep), closerange)
        listening = Socket(fileno=listener)
        listening.listen(BACKLOG)  # SO_PEERCRED names the last process that called it
        listening.setblocking(False)
        shim.run(request, listener, Socket(fileno=peer))
        _exit(0)
    finally:
        _exit(1)


def close_all_but(keep: Sequence[int], close_range: Callable[[int, int], None]) -> None:
    first = 3
    for fd in sorted(keep):
        close_range(first, fd)
        first = fd + 1
    close_range(first, 1 << 30)
