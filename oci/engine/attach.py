"""How a new process gets into its cgroup: cloned into it (v2), by itself (v1), or moved by somebody else."""

from __future__ import annotations

import os

from oci import syscalls as sc
from oci.engine.requests import CgroupHandle
from oci.errors import ContainerError
from oci.exits import ExitStack
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


@frozen
class CgroupEntry:
    """`into` is for CLONE_INTO_CGROUP, `tasks` for the child to write itself into; with neither and a cgroup the child
    has to be moved (`awaits`)."""

    into: int | None = None
    tasks: Sequence[int] = ()
    awaits: bool = False


def prepare_entry(cgroup: CgroupHandle | None, opened: ExitStack) -> CgroupEntry:
    """The descriptors are closed with `opened`, which must outlive the clone."""
    if cgroup is None:
        return CgroupEntry()
    into = cgroup.into_fd()
    if into is not None:
        opened.callback(os.close, into)
        return CgroupEntry(into=into)
    tasks = tuple(cgroup.entry_fds())
    for fd in tasks:
        opened.callback(os.close, fd)
    return CgroupEntry(tasks=tasks, awaits=not tasks)


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


def wait_attached(helper: int, pidfd: int, container_id: str) -> None:
    _, status = os.waitpid(helper, 0)
    os.close(pidfd)
    if status:
        raise ContainerError("join the cgroup", 0, f"cannot move the init process of {container_id} into its cgroup")
