"""Exits of processes that are not our children: those of a pod whose first shim died. Owns no descriptor.

A pidfd becomes readable when the process is a zombie, and hung up once its parent (the launcher, or the host's init)
has reaped it. Before that procfs tells the status, afterwards the kernel does (Linux >= 6.15); where neither can,
nobody can: `UNKNOWN_STATUS`.
"""

from __future__ import annotations

import select
import signal
from collections.abc import Callable

from oci import syscalls
from oci.protocol.messages import UNKNOWN_STATUS
from oci.shim.loop import Loop


def watch(loop: Loop, pid: int, pidfd: int, exited: Callable[[int], None]) -> None:
    """`exited` gets the wait status, once; `pidfd`, of process `pid`, is out of the loop by then."""

    def ended(events: int) -> None:
        status = exit_status(pid, pidfd)
        if status is not None or events & select.EPOLLHUP or not syscalls.pidfd_knows_exit(pidfd):
            loop.remove(pidfd)
            exited(UNKNOWN_STATUS if status is None else status)
        elif events & select.EPOLLIN:
            # A zombie yet. Hang-ups are told without being asked for; readable it is from now on without end.
            loop.remove(pidfd)
            loop.add(pidfd, ended, 0)

    loop.add(pidfd, ended)


def exit_status(pid: int, pidfd: int) -> int | None:
    """Wait status of process `pid`, which has ended: reaped or not. None where it cannot be had."""
    for look in (syscalls.pidfd_exit_status, lambda fd: _zombie_status(pid, fd), syscalls.pidfd_exit_status):
        status = look(pidfd)  # the last look is for one that was reaped just now
        if status is not None:
            return status
    return None


def _zombie_status(pid: int, pidfd: int) -> int | None:
    """From /proc/PID/stat (proc(5), fields 3 and 52); None when it is no zombie (any more)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        signal.pidfd_send_signal(pidfd, 0)  # still there, so what was read is its own
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[49]) if fields[0] in "ZX" else None
