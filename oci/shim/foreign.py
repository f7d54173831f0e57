"""Exits of processes that are not our children: those of a pod whose first shim died. Owns no descriptor.

A pidfd becomes readable when the process is a zombie, and hung up once its parent (the launcher, or the host's init)
has reaped it. Only then does the kernel tell the status (Linux >= 6.15); where it cannot, nobody can: `UNKNOWN_STATUS`.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from oci import syscalls
from oci.protocol.messages import UNKNOWN_STATUS
from oci.shim.loop import Loop


def watch(loop: Loop, pidfd: int, exited: Callable[[int], None]) -> None:
    """`exited` gets the wait status, once; `pidfd` is out of the loop by then."""

    def hung_up(events: int) -> None:
        status = syscalls.pidfd_exit_status(pidfd)
        if status is not None or events & select.EPOLLHUP or not syscalls.pidfd_knows_exit(pidfd):
            loop.remove(pidfd)
            exited(UNKNOWN_STATUS if status is None else status)
        elif events & select.EPOLLIN:
            # A zombie yet. Hang-ups are told without being asked for; readable it is from now on without end.
            loop.remove(pidfd)
            loop.add(pidfd, hung_up, 0)

    loop.add(pidfd, hung_up)
