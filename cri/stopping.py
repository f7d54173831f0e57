"""Ending a container's processes: the signal, the grace, the kill.

Two callers may stop one container at once (the kubelet repeats StopContainer, a pod stop overtakes it): there is one
stop under way for each container, and the shortest grace that anybody asked for counts.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from cri import exits
from cri.errors import Unavailable
from cri.live import LiveContainer
from cri.shims import ShimGone, ShimHung
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord
from oci.errors import ContainerNotFound
from oci.signals import send_signal, signal_number

if TYPE_CHECKING:
    from cri.daemon import Daemon

#: How long a killed container may take to be gone before the caller hears of it. A process in uninterruptible sleep
#: (a dead NFS server) cannot be killed; the reconciler keeps trying.
KILL_DEADLINE_S = 10.0
#: How long a shim may take to send a signal; one that hangs must not protect its containers.
SIGNAL_DEADLINE_S = 5.0
_RESEND_INTERVAL_S = 0.05


async def stop_container(daemon: Daemon, record: ContainerRecord, grace_s: float) -> None:
    """Send the container's stop signal, wait up to `grace_s`, then kill. Returns when it has exited."""
    loop = asyncio.get_running_loop()
    if record.state is not ContainerState.RUNNING or grace_s <= 0:
        await kill_container(daemon, record)
        return
    live = daemon.live_containers.get(record.id)
    if live is None:
        await kill_container(daemon, record)
        return
    live.stop_deadline = min(live.stop_deadline or float("inf"), loop.time() + grace_s)
    number = signal_number(record.stop_signal)
    # Asked before: a handler that comes while the signal is on its way may have come too late for it.
    resend = not _handles(record.pid, number)
    await _signal(daemon, record, number)
    while not live.exited.is_set():
        remaining = live.stop_deadline - loop.time()
        if remaining <= 0:
            await kill_container(daemon, record)
            return
        try:
            await asyncio.wait_for(live.exited.wait(), min(remaining, _RESEND_INTERVAL_S) if resend else remaining)
        except TimeoutError:
            # The kernel drops a signal for which PID 1 of a namespace has no handler yet: once it has one, send again.
            if resend and _handles(record.pid, number):
                await _signal(daemon, record, number)
                resend = False


async def kill_container(daemon: Daemon, record: ContainerRecord) -> None:
    """SIGKILL every process of the container and wait until its init is reaped. Nothing to do is fine.

    Raises Unavailable when it is still there after a while.
    """
    live = daemon.live_containers.get(record.id)
    if live is None:
        if record.state in (ContainerState.CREATED, ContainerState.RUNNING):
            await _kill_unheld(daemon, record)
        return
    daemon.apply_pending_exit(live)
    if live.exited.is_set():
        return
    try:
        async with asyncio.timeout(KILL_DEADLINE_S):
            await _kill_until_gone(daemon, record, live)
    except TimeoutError:
        raise Unavailable(
            f"container {record.id}: process {live.handles.pid} is still there {KILL_DEADLINE_S:.0f} s after SIGKILL: "
            f"{_wchan(live.handles.pid)}"
        ) from None


async def abort_creation(daemon: Daemon, record: ContainerRecord) -> None:
    """What the making of a container waits for, a dead volume perhaps, ends now; its call fails, and undoes it."""
    await _signal(daemon, record, signal.SIGKILL, everyone=True)


async def _kill_until_gone(daemon: Daemon, record: ContainerRecord, live: LiveContainer) -> None:
    while not live.exited.is_set():
        if not await _signal(daemon, record, signal.SIGKILL, everyone=True):
            exits.on_unseen_exit(daemon, record.id)  # nobody will tell of it
        elif live.handles.pid:
            await live.exited.wait()
        else:
            # Its making was under way: that has no exit, the shim only forgets it.
            await asyncio.sleep(_RESEND_INTERVAL_S)


async def _kill_unheld(daemon: Daemon, record: ContainerRecord) -> None:
    await asyncio.to_thread(daemon.cgroups.open(record.cgroup).kill, signal.SIGKILL)
    exits.on_unseen_exit(daemon, record.id)


async def _signal(daemon: Daemon, record: ContainerRecord, number: int, *, everyone: bool = False) -> bool:
    """False when nobody knows such a container (any more). Where no shim can do it, it is done from here."""
    if everyone and (live := daemon.live_containers.get(record.id)) and live.handles.pidfd is not None:
        # `everyone` are the cgroup's; the init is the container, and somebody may have moved it out of there.
        send_signal(live.handles.pidfd, number)
    pod = daemon.pods.get(record.sandbox_id)
    if pod is None or pod.shim is None:
        return await _signal_directly(daemon, record, number, everyone=everyone)
    try:
        async with asyncio.timeout(SIGNAL_DEADLINE_S):
            await pod.shim.kill(record.id, number, all=everyone)
    except ContainerNotFound:
        return False
    except ProcessLookupError:
        pass  # it exited meanwhile; the exit event is on its way
    except (ShimGone, ShimHung, TimeoutError):
        return await _signal_directly(daemon, record, number, everyone=everyone)
    return True


async def _signal_directly(daemon: Daemon, record: ContainerRecord, number: int, *, everyone: bool) -> bool:
    live = daemon.live_containers.get(record.id)
    pidfd = live.handles.pidfd if live else None
    if everyone:
        await asyncio.to_thread(daemon.cgroups.open(record.cgroup).kill, number)
    elif pidfd is not None:
        send_signal(pidfd, number)
    exits.watch_alone(daemon, record.id)
    return pidfd is not None


def _handles(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal (proc(5), SigCgt); a process that is gone needs no more."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _wchan(pid: int) -> str:
    try:
        return "it sleeps in " + (Path(f"/proc/{pid}/wchan").read_text() or "user space")
    except OSError as error:
        return f"/proc/{pid}: {error.strerror}"
