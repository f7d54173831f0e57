"""A container of a shim that died, from what the daemon kept of it. Watches and decides nothing."""

from __future__ import annotations

import os

from oci.cgroups import CgroupDriver
from oci.protocol.messages import AdoptContainer
from oci.shim.container import Container, Output
from oci.shim.loop import Loop


def adopt(request: AdoptContainer, loop: Loop, cgroups: CgroupDriver | None) -> Container:
    """The request's descriptors are duplicated. Raises OSError when the log cannot be opened.

    One that was not started yet can never be: its init waits for a shim that is gone, and ends.
    """
    output = Output(loop, request.log_path)
    container = Container(
        id=request.container_id,
        bundle=request.bundle,
        log_path=request.log_path,
        cgroup_path=request.cgroup_path,
        cgroup=None if request.cgroup_path is None or cgroups is None else cgroups.open(request.cgroup_path),
        pid=request.pid,
        pidfd=os.dup(request.pidfd),
        output=output,
        stdin_fd=_keep(request.stdin_fd),
        console_fd=_keep(request.console_fd),
        seccomp_fd=_keep(request.seccomp_fd),
        state="running" if request.started else "created",
    )
    for name, fd in (("stdout", request.console_fd), ("stdout", request.stdout_fd), ("stderr", request.stderr_fd)):
        if fd is not None:
            output.add(name, os.dup(fd))
    return container


def _keep(fd: int | None) -> int | None:
    return None if fd is None else os.dup(fd)
