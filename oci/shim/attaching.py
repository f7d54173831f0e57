"""An init on its way into its cgroup, by the hand of a helper process.

On cgroup v1 moving a process waits for an RCU grace period, 5 to 12 ms after a quiet time; the shim must not, and need
not: the init mounts meanwhile, and executes nothing before it is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from oci import syscalls
from oci.cgroups import Cgroup
from oci.errors import CgroupError
from oci.shim.loop import Children

Arrived = Callable[[CgroupError | None], None]


class Attaching:
    def __init__(self, children: Children, cgroup: Cgroup, pid: int) -> None:
        self._path = cgroup.path
        self._over = False
        self._error: CgroupError | None = None
        self._waiter: Arrived | None = None
        helper, pidfd = syscalls.clone3(0)
        if helper == 0:
            _attach_and_exit(cgroup, pid)
        os.close(pidfd)
        children.watch(helper, self._helper_exited)

    def then(self, arrived: Arrived) -> None:
        """`arrived` is called once, now if it is over already. A second call replaces the first."""
        self._waiter = arrived
        if self._over:
            arrived(self._error)

    def _helper_exited(self, status: int) -> None:
        self._over = True
        if status != 0:
            self._error = CgroupError(self._path, "the init process could not be moved there")
        if self._waiter is not None:
            self._waiter(self._error)


def _attach_and_exit(cgroup: Cgroup, pid: int) -> None:
    try:
        cgroup.attach(pid)
        os._exit(0)
    finally:
        os._exit(1)
