"""Moving a new process into its cgroup, where the clone itself could not put it there."""

from __future__ import annotations

import os

from oci import syscalls as sc
from oci.engine.requests import CgroupHandle
from oci.errors import ContainerError


def attach_in_background(cgroup: CgroupHandle, pid: int) -> tuple[int, int]:
    """A helper process writes the pid; returns its (pid, pidfd). The caller's process never waits for the RCU grace
    period that the write may cost on cgroup v1."""
    helper, pidfd = sc.clone3(0)
    if helper == 0:
        try:
            cgroup.attach(pid)
            os._exit(0)
        finally:
            os._exit(1)
    return helper, pidfd


def wait_attached(helper: int, pidfd: int, path: str) -> None:
    _, status = os.waitpid(helper, 0)
    os.close(pidfd)
    if status:
        raise ContainerError("join the cgroup", 0, f"cannot move the init process into cgroup {path}")
