"""At start: make the records agree with what is alive, and take over what a former daemon left running.

For each pod that was READY: connect to its shim, take the handles of its containers, apply the exits that happened
meanwhile. A shim that is gone is replaced: the containers' processes are found by pid and start time, and adopted.
After a boot nothing is alive: every pod is NOT_READY and every container EXITED, with the reason. Nothing is deleted
for being odd, and one pod's trouble does not keep the others from coming back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cri import exits
from cri.api import runtime_pb2 as api
from cri.host import process_state
from cri.live import LivePod
from cri.shims import Shim, ShimGone, ShimHung
from cri.state.machine import ContainerState, Event, SandboxState
from cri.state.records import UNKNOWN_EXIT_CODE, ContainerRecord, SandboxRecord
from oci.errors import CgroupError
from oci.protocol.messages import ContainerHandles, SandboxNamespaces, ShimState
from oci.protocol.messages import ContainerState as ShimContainer
from oci.shim import records as exit_records

if TYPE_CHECKING:
    from cri.daemon import Daemon

#: For the shims to answer. One that hangs is waited for in the background, its pod is as it was found.
PATIENCE_S = 15.0
#: Between two looks at one that hangs.
_HUNG_PAUSE_S = 5.0

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ALIVE = (ContainerState.CREATED, ContainerState.RUNNING)


async def recover(daemon: Daemon) -> None:
    tasks = [asyncio.ensure_future(_recover_sandbox(daemon, record)) for record in daemon.sandboxes]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=PATIENCE_S)
        for task in late:
            daemon.recovering.add(task)
            task.add_done_callback(daemon.recovering.discard)
        if late:
            daemon.log.error("the shims of %d pods do not answer; the others are served meanwhile", len(late))
    for container in daemon.containers:
        if container.state is ContainerState.CREATING:
            daemon.containers.put(container.moved(Event.FAILED, reason="the daemon ended while it was being made"))
        elif daemon.sandboxes.get(container.sandbox_id) is None and container.state is not ContainerState.REMOVING:
            daemon.log.warning("container %s belongs to no sandbox: it will be removed", container.id)
            daemon.containers.put(container.moved(Event.REMOVE))
    await asyncio.to_thread(_forget_unrecorded, daemon)


def _forget_unrecorded(daemon: Daemon) -> None:
    """A power cut takes the last seconds' records, while the directories of these containers may have been durable.

    Without a record, and without the bundle that only this boot can have made, nothing can stand on one.
    """
    paths = daemon.paths
    for name in sorted(os.listdir(paths.container("x").parent)):
        if daemon.containers.get(name) is None and not paths.bundle(name).exists():
            daemon.log.warning("the writable layer of container %s is removed: nobody knows of it any more", name)
            daemon.trash.take(paths.container(name))


async def _recover_sandbox(daemon: Daemon, record: SandboxRecord) -> None:
    if record.state is SandboxState.CREATING:
        record = daemon.sandboxes.put(record.moved(Event.FAILED, reason="the daemon ended while it was being made"))
    if record.boot_id != daemon.boot_id:
        _end_pod(daemon, record, "the node was started anew")
        return
    try:
        try:
            await _reconnect(daemon, record)
        except ShimGone:
            # It may have died after it was found.
            daemon.forget_pod(record.id)
            for container in daemon.containers_of(record.id):
                daemon.forget_container(container.id)
            await _without_shim(daemon, record)
    except Exception as error:
        daemon.log.exception("sandbox %s could not be recovered", record.id)
        await _kill_containers(daemon, record)
        _end_pod(daemon, record, f"could not be recovered: {error}")


async def _reconnect(daemon: Daemon, record: SandboxRecord) -> None:
    shim = await Shim.connect(record.id, str(daemon.paths.sandbox(record.id)))
    # What it tells from now on must find the containers, whatever is asked of it meanwhile.
    held = {container.id: daemon.hold_container(container.id) for container in daemon.containers_of(record.id)}
    pod = daemon.hold_pod(record.id, shim)
    state = await _patiently(shim.describe)
    pod.namespaces = namespaces_of(state)
    known = {container.container_id: container for container in state.containers}
    for container_id, live in held.items():
        if container_id not in known:
            daemon.forget_container(container_id)
            _apply_disk_exit(daemon, daemon.containers.need(container_id))
            continue
        live.handles = await _patiently(partial(shim.handles, container_id))
        there = known[container_id]
        live.log_dropped = there.log_dropped  # a former daemon has counted it
        _agree(daemon, daemon.containers.need(container_id), there)
        if there.exit:
            live.exited.set()


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """A shim that hangs is no shim that is gone: its pod is as it was found until it answers, or dies."""
    while True:
        try:
            return await ask()
        except ShimHung as error:
            _log.error("%s", error)
            await asyncio.sleep(_HUNG_PAUSE_S)


def _agree(daemon: Daemon, record: ContainerRecord, there: ShimContainer) -> None:
    """The shim saw what the daemon missed: a start, an exit."""
    if record.state is ContainerState.CREATED and (there.state == "running" or there.started_at):
        record = daemon.containers.put(record.moved(Event.STARTED, started_at=there.started_at))
    if there.exit and record.state in _ALIVE:
        daemon.containers.put(exits.exited(record, there.exit))


async def _without_shim(daemon: Daemon, record: SandboxRecord) -> None:
    """Nobody holds the pod's pipes any more, but its processes may live."""
    alive = False
    for container in daemon.containers_of(record.id):
        if container.state not in _ALIVE:
            continue
        pidfd = _open_process(container)
        if pidfd is None:
            _apply_disk_exit(daemon, container)
            continue
        daemon.hold_container(container.id, ContainerHandles(pid=container.pid, pidfd=pidfd))
        if process_state(container.pid).zombie:
            exits.on_unseen_exit(daemon, container.id)
        else:
            exits.watch_alone(daemon, container.id)
            alive = True
    if record.state is not SandboxState.READY:
        return
    if not alive:
        _end_pod(daemon, record, "its shim died while the daemon was down")
        return
    pod = daemon.pods[record.id] = LivePod(shim=None)
    pod.namespaces = open_namespaces(daemon, record)
    await exits.adopt(daemon, record, pod)


def _open_process(record: ContainerRecord) -> int | None:
    """A pidfd of the container's init, a zombie perhaps; None when the pid is gone or another process's."""
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return None
    try:
        if process_state(record.pid).start == record.pid_start:
            return pidfd
    except ProcessLookupError:
        pass
    os.close(pidfd)
    return None


async def _kill_containers(daemon: Daemon, record: SandboxRecord) -> None:
    """What is going to be shown as ended must not run on, unseen and beyond anybody's reach."""
    for container in daemon.containers_of(record.id):
        if container.state in _ALIVE and container.cgroup:
            try:
                await asyncio.to_thread(daemon.cgroups.open(container.cgroup).kill, signal.SIGKILL)
            except CgroupError as error:
                daemon.log.error("container %s could not be killed: %s", container.id, error)


def open_namespaces(daemon: Daemon, record: SandboxRecord) -> SandboxNamespaces:
    """The pod's namespaces, from the process of a container that is alive in them."""
    pid = next(c.pid for c in daemon.containers_of(record.id) if c.state in _ALIVE and c.id in daemon.live_containers)
    options = record.namespaces
    with ExitStack() as undo:

        def opened(kind: str, pid: int) -> int:
            fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, fd)
            return fd

        namespaces = SandboxNamespaces(
            net_fd=None if record.host_network else opened("net", pid),
            ipc_fd=None if options.ipc == api.NODE else opened("ipc", pid),
            uts_fd=None if record.host_network else opened("uts", pid),
            user_fd=opened("user", pid) if options.userns_options.uids else None,
            pid_fd=opened("pid", record.init_pid) if record.init_pid else None,
            init_pidfd=os.pidfd_open(record.init_pid) if record.init_pid else None,
            init_pid=record.init_pid or None,
        )
        undo.pop_all()
    return namespaces


def _apply_disk_exit(daemon: Daemon, record: ContainerRecord) -> None:
    """The exit record that the shim wrote before it died or forgot the container; else the code is unknown."""
    if record.state not in _ALIVE:
        return
    event = exit_records.read(str(daemon.paths.sandbox(record.sandbox_id)), record.id)
    if event is not None:
        daemon.containers.put(exits.exited(record, event))
    else:
        _lost(daemon, record, "its end was not seen by anybody")


def _end_pod(daemon: Daemon, record: SandboxRecord, reason: str) -> None:
    for container in daemon.containers_of(record.id):
        if container.state in _ALIVE:
            _lost(daemon, container, reason)
    if record.state is SandboxState.READY:
        daemon.log.warning("sandbox %s is not ready any more: %s", record.id, reason)
        # STOPPING: the reconciler gives back its addresses and whatever else outlived it.
        daemon.sandboxes.put(record.moved(Event.STOP, reason=reason))


def _lost(daemon: Daemon, record: ContainerRecord, reason: str) -> None:
    daemon.containers.put(
        record.moved(
            Event.DIED, exit_code=UNKNOWN_EXIT_CODE, finished_at=daemon.now(), reason="Unknown", message=reason
        )
    )


def namespaces_of(state: ShimState) -> SandboxNamespaces:
    return SandboxNamespaces(**{name: getattr(state, name) for name in (*SandboxNamespaces.FDS, "init_pid")})
