"""What happens to the records when processes end: containers, a pod's init, a shim.

The kernel is the truth and the shims bring it: an exit is applied the moment it is known. A shim that was killed takes
nothing with it: a new one is forked and given everything the daemon holds of the pod.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from cri.host import has_executed
from cri.live import LiveContainer, LivePod
from cri.shims import AdoptState, Shim, ShimGone, close_descriptors
from cri.state.machine import ContainerState, Event, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord
from oci.errors import CgroupError
from oci.protocol.messages import (
    UNKNOWN_STATUS,
    AdoptContainer,
    AdoptSandbox,
    ContainerExited,
    ContainerHandles,
    InitExited,
    LogDropped,
    SandboxNamespaces,
    ShimEvent,
)
from oci.shim import records as exit_records
from oci.shim.foreign import exit_status

if TYPE_CHECKING:
    from cri.daemon import Daemon

_ALIVE = (ContainerState.CREATED, ContainerState.RUNNING)


def on_event(daemon: Daemon, sandbox_id: str, event: ShimEvent) -> None:
    if isinstance(event, ContainerExited):
        on_container_exit(daemon, event)
    elif isinstance(event, InitExited):
        on_init_exit(daemon, sandbox_id, event)
    elif isinstance(event, LogDropped):
        _count_dropped(daemon, event.container_id, event.dropped)


def on_container_exit(daemon: Daemon, event: ContainerExited) -> None:
    """Apply an exit once; a second report of it (the disk record after the event) changes nothing."""
    record = daemon.containers.get(event.container_id)
    live = daemon.live_containers.get(event.container_id)
    if live is not None and record is not None and _is_in_motion(record, live):
        live.pending_exit = event
        return
    try:
        if record is not None and record.state in _ALIVE:
            daemon.containers.put(exited(record, event), observed=True)
            _count_dropped(daemon, event.container_id, event.log_dropped)
            if event.oom_killed:
                daemon.metrics.container_oom(record.name)
    finally:
        if live is not None:
            live.exited.set()


def _count_dropped(daemon: Daemon, container_id: str, total: int) -> None:
    live = daemon.live_containers.get(container_id)
    if live is not None and (dropped := live.newly_dropped(total)):
        daemon.metrics.log_dropped(dropped)


def _is_in_motion(record: ContainerRecord, live: LiveContainer) -> bool:
    """Its Create or Start has not been answered: that comes first."""
    return record.state is ContainerState.CREATING or (
        record.state is ContainerState.CREATED and live.starting.locked()
    )


def watch_alone(daemon: Daemon, container_id: str) -> None:
    """The container has no shim that would tell of its end, and may never have one again: its pidfd tells."""
    live = daemon.live_containers.get(container_id)
    if live is not None and not live.exited.is_set():
        live.watch(lambda: on_unseen_exit(daemon, container_id))


def on_unseen_exit(daemon: Daemon, container_id: str) -> None:
    """A container ended and no shim says how: from the record that one may have written, else from the kernel."""
    record = daemon.containers.get(container_id)
    live = daemon.live_containers.get(container_id)
    if record is None:
        return
    event = exit_records.read(str(daemon.paths.sandbox(record.sandbox_id)), container_id)
    if event is None:
        pidfd = live.handles.pidfd if live else None
        status = None if live is None or pidfd is None else exit_status(live.handles.pid, pidfd)
        event = ContainerExited(
            container_id=container_id,
            pid=record.pid,
            status=UNKNOWN_STATUS if status is None else status,
            finished_at=daemon.now(),
            oom_kills=oom_kills(daemon, record),
        )
    on_container_exit(daemon, event)


def oom_kills(daemon: Daemon, record: ContainerRecord) -> int:
    try:
        return daemon.cgroups.open(record.cgroup).oom_kills()
    except CgroupError:  # it is gone: nothing can be known
        return 0


def exited(record: ContainerRecord, event: ContainerExited) -> ContainerRecord:
    """The record of the container after this exit, with the kubelet's reasons."""
    code = event.exit_code
    reason = "OOMKilled" if event.oom_killed and code else "Completed" if code == 0 else "Error"
    return record.moved(
        Event.DIED,
        exit_code=code,
        finished_at=max(event.finished_at, record.started_at),
        reason=reason,
        oom_killed=event.oom_killed,
    )


def on_init_exit(daemon: Daemon, sandbox_id: str, event: InitExited) -> None:
    """Without its init a shared PID namespace takes no new process: the pod is over, and the kubelet is told."""
    record = daemon.sandboxes.get(sandbox_id)
    if record is not None and record.state is SandboxState.READY:
        daemon.log.warning("sandbox %s: its init %d died (status %d)", sandbox_id, event.pid, event.status)
        daemon.sandboxes.put(record.moved(Event.DIED, reason="the init of its shared PID namespace died"))
        daemon.reconciler.wake()


def on_shim_lost(daemon: Daemon, sandbox_id: str) -> None:
    """The connection to a shim broke: it is dead. Fork another for the same pod, unless that is about to end."""
    pod = daemon.pods.get(sandbox_id)
    record = daemon.sandboxes.get(sandbox_id)
    if daemon.closing or pod is None or record is None:
        return
    if record.state is not SandboxState.READY:
        for container in daemon.containers_of(sandbox_id):
            watch_alone(daemon, container.id)
        return
    pod.shim = None
    pod.shim_ready.clear()
    daemon.metrics.monitor_stopped(record.config.metadata.name)
    daemon.log.warning("sandbox %s: its shim %d died, forking another", sandbox_id, record.shim_pid)
    pod.repairing = asyncio.ensure_future(_repair(daemon, record, pod))


async def _repair(daemon: Daemon, record: SandboxRecord, pod: LivePod) -> None:
    """Until it works or the pod goes away: a fork fails only when the host is out of something."""
    delay = 0.1
    while daemon.pods.get(record.id) is pod:
        try:
            await _end_old_shim(daemon, record.id)
            await adopt(daemon, record, pod)
            return
        except Exception as error:
            daemon.log.error("sandbox %s: forking a new shim failed, next try in %.1f s: %s", record.id, delay, error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)


async def _end_old_shim(daemon: Daemon, sandbox_id: str) -> None:
    """It may be that only the connection broke; there cannot be two."""
    try:
        old = await Shim.connect(sandbox_id, str(daemon.paths.sandbox(sandbox_id)))
    except ShimGone:
        return
    old.kill_shim()


def apply_unheard_starts(daemon: Daemon, sandbox_id: str) -> None:
    """A shim that did not answer a Start may have carried it out: what the kernel says is so.

    Only of our own executor's containers: another runtime's init executes more than the workload.
    """
    if daemon.foreign_runtime(sandbox_id) is not None:
        return
    for container in daemon.containers_of(sandbox_id):
        live = daemon.live_containers.get(container.id)
        if container.state is not ContainerState.CREATED or live is None or live.starting.locked():
            continue
        if has_executed(container.pid, container.pid_start):
            daemon.log.warning("container %s was started, though its shim did not say so", container.id)
            daemon.containers.put(container.moved(Event.STARTED, started_at=daemon.now()), observed=True)


async def adopt(daemon: Daemon, record: SandboxRecord, pod: LivePod) -> None:
    """A new shim for the pod, with the namespaces, pipes and processes that the daemon holds (and goes on holding)."""
    apply_unheard_starts(daemon, record.id)
    namespaces = pod.namespaces or SandboxNamespaces()
    containers = [
        _adoption(daemon, container, daemon.live_containers[container.id].handles)
        for container in daemon.containers_of(record.id)
        if container.state in _ALIVE and container.id in daemon.live_containers
    ]
    try:
        shim = await daemon.launcher.fork_shim(
            record.id,
            str(daemon.paths.sandbox(record.id)),
            AdoptState(
                sandbox=AdoptSandbox(**{name: getattr(namespaces, name) for name in (*AdoptSandbox.FDS, "init_pid")}),
                containers=containers,
            ),
        )
    finally:
        for container in containers:
            close_descriptors(container)
    await daemon.pod_cgroups.hold(record.cgroup, shim.pid, record.id)
    daemon.sandboxes.put(daemon.sandboxes.need(record.id).with_(shim_pid=shim.pid))
    pod.shim = shim
    pod.shim_ready.set()
    for adopted in containers:
        if live := daemon.live_containers.get(adopted.container_id):
            live.unwatch()
    daemon.watch_shim(record.id, shim)


def _adoption(daemon: Daemon, container: ContainerRecord, held: ContainerHandles) -> AdoptContainer:
    """With duplicates: the container may be removed, and its descriptors closed, before its turn has come."""
    fds = {name: getattr(held, name) for name in ContainerHandles.FDS}
    duplicates: dict[str, Any] = {name: None if fd is None else os.dup(fd) for name, fd in fds.items()}
    return AdoptContainer(
        container_id=container.id,
        bundle=str(daemon.paths.bundle(container.id)),
        started=container.state is ContainerState.RUNNING,
        log_path=container.log_path or None,
        log_size_max=daemon.settings.runtime.log_size_max,
        log_rate_limit=daemon.settings.runtime.log_rate_limit,
        cgroup_path=container.cgroup or None,
        runtime=daemon.foreign_runtime(container.sandbox_id),
        pid=container.pid,
        **duplicates,
    )
