"""Ending a container's processes: the signal, the grace, the kill.

Two callers may stop one container at once (the kubelet repeats StopContainer, a pod stop overtakes it): there is one
stop under way for each container, and the shortest grace that anybody asked for counts.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from cri.errors import Unavailable
from cri.shims import ShimGone
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord
from oci.errors import ContainerNotFound

if TYPE_CHECKING:
    from cri.daemon import Daemon

#: How long a killed container may take to be gone before the caller hears of it. A process in uninterruptible sleep
#: (a dead NFS server) cannot be killed; the reconciler keeps trying.
KILL_DEADLINE_S = 10.0
_RESEND_INTERVAL_S = 0.05


async def stop_container(daemon: Daemon, record: ContainerRecord, grace_s: float) -> None:
    """Send the container's stop signal, wait up to `grace_s`, then kill. Returns when it has exited."""
    loop = asyncio.get_running_loop()
    if record.state is not ContainerState.RUNNING or grace_s <= 0:
        await kill_container(daemon, record)
        return
    live = daemon.live_containers[record.id]
    live.stop_deadline = min(live.stop_deadline or float("inf"), loop.time() + grace_s)
    number = signal_number(record.stop_signal)
    await _signal(daemon, record, number)
    resend = not _handles(record.pid, number)
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
    """SIGKILL every process of the container and wait until its init is reaped. Nothing to do is fine."""
    if record.state not in (ContainerState.RUNNING, ContainerState.CREATED, ContainerState.REMOVING) or not record.pid:
        return
    live = daemon.live_containers.get(record.id)
    if live is None or live.exited.is_set():
        return
    await _signal(daemon, record, signal.SIGKILL, everyone=True)
    try:
        await asyncio.wait_for(live.exited.wait(), KILL_DEADLINE_S)
    except TimeoutError:
        raise Unavailable(
            f"container {record.id}: process {record.pid} is still there {KILL_DEADLINE_S:.0f} s after SIGKILL: "
            f"{_wchan(record.pid)}"
        ) from None


async def _signal(daemon: Daemon, record: ContainerRecord, number: int, *, everyone: bool = False) -> None:
    try:
        shim = await daemon.shim_of(record.sandbox_id)
        await shim.kill(record.id, number, all=everyone)
    except (ShimGone, Unavailable):
        if not everyone:
            raise
        # Killing needs no shim, only the cgroup; the new shim, or the next start, will see the exit.
        await asyncio.to_thread(daemon.cgroups.open(record.cgroup).kill, number)
    except (ContainerNotFound, ProcessLookupError):
        pass  # it exited meanwhile; the exit event is on its way


def signal_number(name: str) -> int:
    """From "SIGTERM", "TERM", "15" or "RTMIN+3". Raises ValueError."""
    text = name.upper().removeprefix("SIG")
    if text.isdigit():
        return int(text)
    for base, start in (("RTMIN", signal.SIGRTMIN), ("RTMAX", signal.SIGRTMAX)):
        if text.startswith(base):
            offset = text.removeprefix(base)
            return start + (int(offset) if offset else 0)
    try:
        return signal.Signals["SIG" + text]
    except KeyError:
        raise ValueError(f"{name!r} is not a signal") from None


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
