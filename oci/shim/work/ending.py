"""The end of a container: its exit on record, and what is left of it removed.

What waits for nobody the shim does by itself: a worker costs more than all of it. A cgroup that is not empty may take a
while to become so; that is a worker's.
"""

from __future__ import annotations

import os
import signal

from oci.cgroups import CgroupDriver
from oci.errors import CgroupError
from oci.protocol.messages import ContainerExited, Done
from oci.shim import records
from oci.shim.container import Container
from oci.shim.handlers import verbs
from oci.shim.workers import Outcome


def record_exit(
    container: Container, status: int, finished_at: int, directory: str, cgroups: CgroupDriver | None
) -> Outcome:
    """The record is on disk when the event can be told. What shared a pid namespace with the init ends with it."""
    _end_the_rest(container, cgroups)
    event = ContainerExited(
        container_id=container.id,
        pid=container.pid,
        status=status,
        finished_at=finished_at,
        oom_kills=_oom_kills(container, cgroups),
        log_dropped=container.output.dropped_bytes,
    )
    records.write(directory, event)
    return Outcome(answer=event, record=(event.oom_kills,))


def is_quiet(container: Container, cgroups: CgroupDriver | None) -> bool:
    """Nobody is left in its cgroup."""
    if container.cgroup_path is None or cgroups is None:
        return True
    try:
        return not cgroups.open(container.cgroup_path).pids()
    except CgroupError:
        return False


def remove_at_once(container: Container, directory: str, cgroups: CgroupDriver | None) -> bool:
    """False where it takes longer."""
    if container.runtime is not None or not is_quiet(container, cgroups):
        return False
    if container.cgroup_path is not None and cgroups is not None:
        try:
            if not cgroups.open(container.cgroup_path).remove_if_empty():
                return False
        except CgroupError:
            return False
    records.remove(directory, container.id)
    return True


def remove(container: Container, directory: str, cgroups: CgroupDriver | None) -> Outcome:
    if container.runtime is not None:
        verbs.delete(container.runtime, container.id, container.bundle)
    remove_cgroup(container.cgroup_path, cgroups)
    records.remove(directory, container.id)
    return Outcome(answer=Done())


def remove_cgroup(path: str | None, cgroups: CgroupDriver | None) -> Outcome:
    if path is not None and cgroups is not None:
        cgroup = cgroups.open(path)
        cgroup.kill(signal.SIGKILL)
        cgroup.remove()
    return Outcome(answer=None)


def kill_worker(pid: int) -> None:
    """With the runtime that it waits for, which is in a process group of the worker's. For the shim itself."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # one without
        os.kill(pid, signal.SIGKILL)


def kill_all(container: Container, number: int, cgroups: CgroupDriver | None) -> Outcome:
    if container.cgroup_path is not None and cgroups is not None:
        cgroups.open(container.cgroup_path).kill(number)
    return Outcome(answer=Done())


def _end_the_rest(container: Container, cgroups: CgroupDriver | None) -> None:
    if container.cgroup_path is None or cgroups is None:
        return
    cgroup = cgroups.open(container.cgroup_path)
    try:
        if cgroup.pids():
            cgroup.kill(signal.SIGKILL)
    except CgroupError:
        pass  # it is tried again when the container is removed; the exit must be told


def _oom_kills(container: Container, cgroups: CgroupDriver | None) -> int:
    if container.cgroup_path is None or cgroups is None:
        return 0
    try:
        return cgroups.open(container.cgroup_path).oom_kills()
    except CgroupError:  # removed under us: nothing can be known, and the exit must be told all the same
        return 0
