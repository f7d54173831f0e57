"""What only the parent may set on a child: it has the privileges that a child in a user namespace lacks."""

from __future__ import annotations

import os

from oci import syscalls as sc
from oci.plan.rlimits import resolve_rlimits
from oci.spec import Process


def adjust(proc: int, pid: int, process: Process, *, user_namespace: bool) -> None:
    if process.oom_score_adj is not None:
        _adjust_oom_score(proc, pid, process.oom_score_adj)
    if user_namespace:
        _raise_limits(pid, process)


def _adjust_oom_score(proc: int, pid: int, wanted: int) -> None:
    """Lowering takes CAP_SYS_RESOURCE; without it the process keeps the lowest value it may have."""
    for value in (wanted, max(wanted, 0)):
        fd = os.open(f"{pid}/oom_score_adj", os.O_WRONLY, dir_fd=proc)
        try:
            os.write(fd, str(value).encode())
            return
        except PermissionError:
            continue
        finally:
            os.close(fd)


def _raise_limits(pid: int, process: Process) -> None:
    """Root of a user namespace may not raise hard limits, so we do; the child then only lowers them."""
    for _, number, _, hard in resolve_rlimits(process.rlimits):
        soft_now, hard_now = sc.limit(pid, number)
        if hard_now != -1 and (hard == -1 or hard > hard_now):
            sc.set_limit(pid, number, soft_now, hard)
