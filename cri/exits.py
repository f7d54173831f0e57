"""What happens to the records when processes end: containers, a pod's init, a shim.

The kernel is the truth and the shims bring it: an exit is applied the moment it is known. A shim that was killed takes
nothing with it: a new one is forked and given everything the daemon holds of the pod.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from typing import TYPE_CHECKING

from cri.live import LiveContainer, LivePod
from cri.shims import AdoptState
from cri.state.machine import ContainerState, Event, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord
from oci.protocol.messages import (
    AdoptContainer,
    AdoptSandbox,
    ContainerExited,
    ContainerHandles,
    InitExited,
    SandboxNamespaces,
    ShimEvent,
)

if TYPE_CHECKING:
    from cri.daemon import Daemon

_ALIVE = (ContainerState.CREATED, ContainerState.RUNNING)


def on_event(daemon: Daemon, sandbox_id: str, event: ShimEvent) -> None:
    if isinstance(event, ContainerExited):
        on_container_exit(daemon, event)
    elif isinstance(event, InitExited):
        on_init_exit(daemon, sandbox_id, event)


def on_container_exit(daemon: Daemon, event: ContainerExited) -> None:
    """Apply an exit once; a second report of it (the disk record after the event) changes nothing."""
    record = daemon.containers.get(event.container_id)
    live = daemon.live_containers.get(event.container_id)
    if live is not None and live.starting.locked() and record and record.state is ContainerState.CREATED:
        live.pending_exit = event
        return
    if record is not None and record.state in _ALIVE:
        daemon.containers.put(exited(record, event))
        if event.oom_killed:
            daemon.metrics.container_oom(record.name)
    if live is not None:
        live.exited.set()


def exited(record: ContainerRecord, event: ContainerExited) -> ContainerRecord:
    """The record of the container after this exit, with the kubelet's reasons."""
    code = event.exit_code
    reason = "OOMKilled" if event.oom_killed and code else "Completed" if code == 0 else "Error"
    return record.moved(
        Event.DIED, exit_code=code, finished_at=event.finished_at, reason=reason, oom_killed=event.oom_killed
    )


def on_init_exit(daemon: Daemon, sandbox_id: str, event: InitExited) -> None:
    """Without its init a shared PID namespace takes no new process: the pod is over, and the kubelet is told."""
    record = daemon.sandboxes.get(sandbox_id)
    if record is not None and record.state is SandboxState.READY:
        daemon.log.warning("sandbox %s: its init %d died (status %d)", sandbox_id, event.pid, event.status)
        daemon.sandboxes.put(record.moved(Event.DIED, reason="the init of its shared PID namespace died"))


def on_shim_lost(daemon: Daemon, sandbox_id: str) -> None:
    """The connection to a shim broke: it is dead. Fork another for the same pod."""
    pod = daemon.pods.get(sandbox_id)
    record = daemon.sandboxes.get(sandbox_id)
    if daemon.closing or pod is None or record is None or record.state is not SandboxState.READY:
        return
    pod.shim = None
    pod.shim_ready.clear()
    daemon.log.warning("sandbox %s: its shim %d died, forking another", sandbox_id, record.shim_pid)
    pod.repairing = asyncio.ensure_future(_repair(daemon, record, pod))


async def _repair(daemon: Daemon, record: SandboxRecord, pod: LivePod) -> None:
    """Until it works or the pod goes away: a fork fails only when the host is out of something."""
    delay = 0.1
    while daemon.pods.get(record.id) is pod:
        try:
            await adopt(daemon, record, pod)
            return
        except Exception as error:
            daemon.log.error("sandbox %s: forking a new shim failed, next try in %.1f s: %s", record.id, delay, error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)


async def adopt(daemon: Daemon, record: SandboxRecord, pod: LivePod) -> None:
    """A new shim for the pod, with the namespaces, pipes and processes that the daemon holds (and goes on holding)."""
    namespaces = pod.namespaces or SandboxNamespaces()
    shim = await daemon.launcher.fork_shim(
        record.id,
        str(daemon.paths.sandbox(record.id)),
        AdoptState(
            sandbox=AdoptSandbox(**{name: getattr(namespaces, name) for name in (*AdoptSandbox.FDS, "init_pid")}),
            containers=[
                _adoption(daemon, container, daemon.live_containers[container.id])
                for container in daemon.containers_of(record.id)
                if container.state in _ALIVE and container.id in daemon.live_containers
            ],
        ),
    )
    daemon.sandboxes.put(daemon.sandboxes.need(record.id).with_(shim_pid=shim.pid))
    pod.shim = shim
    pod.shim_ready.set()
    daemon.watch_shim(record.id, shim)


def _adoption(daemon: Daemon, container: ContainerRecord, live: LiveContainer) -> AdoptContainer:
    held = live.handles
    if held.pidfd is None:  # found by its pid after daemon and shim had both died
        held = live.handles = dataclasses.replace(held, pidfd=os.pidfd_open(container.pid))
    return AdoptContainer(
        container_id=container.id,
        bundle=str(daemon.paths.bundle(container.id)),
        started=container.state is ContainerState.RUNNING,
        log_path=container.log_path or None,
        cgroup_path=container.cgroup or None,
        pid=container.pid,
        **{name: getattr(held, name) for name in ContainerHandles.FDS},
    )
