"""Pods and containers against what is alive: a record that claims what does not exist is a fault."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cni.errors import CniError
from cri.check.faults import Fault
from cri.host import process_state
from cri.pod_network import attachment
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord
from oci import netns
from oci.errors import CgroupError

if TYPE_CHECKING:
    from cri.daemon import Daemon

_DELETE_POD: Final = "delete the pod: its controller makes a new one"
_RESTART: Final = "restart the container, or delete the pod"
_ALIVE: Final = (ContainerState.CREATED, ContainerState.RUNNING)


async def pods(daemon: Daemon) -> list[Fault]:
    ready = [record for record in daemon.sandboxes if record.state is SandboxState.READY]
    alive = [record for record in daemon.containers if record.state in _ALIVE]
    found = await asyncio.to_thread(
        lambda: [
            *(fault for record in ready for fault in _sandbox(daemon, record)),
            *(fault for record in alive for fault in _container(daemon, record)),
        ]
    )
    for record in ready:
        if record.netns:
            try:
                await daemon.networks.check(attachment(record))
            except (CniError, OSError) as error:
                found.append(_pod_fault(record, f"its network is not as it was made: {error}"))
    return found


def _sandbox(daemon: Daemon, record: SandboxRecord) -> Iterator[Fault]:
    pod = daemon.pods.get(record.id)
    if pod is None or (pod.shim is None and pod.repairing is None):
        yield Fault(subject=f"pod {record.id}", problem="it has no shim", remedy="restart coracle, which adopts it")
    directory = daemon.paths.sandbox(record.id)
    if not directory.is_dir():
        yield _pod_fault(record, f"its directory {directory} is gone")
    if record.netns and pod is not None and pod.namespaces and pod.namespaces.net_fd is not None:
        yield from _namespace(record, pod.namespaces.net_fd)


def _namespace(record: SandboxRecord, held: int) -> Iterator[Fault]:
    """The name must lead to the namespace that the shim and the daemon hold."""
    path = Path(record.netns)
    try:
        if os.path.samestat(os.stat(path), os.fstat(held)):
            return
        problem = f"{path} is not its network namespace"
    except FileNotFoundError:
        problem = f"{path}, the name of its network namespace, is gone"

    async def bind_again() -> None:
        def work() -> None:
            netns.remove(str(path))
            netns.bind(str(path), f"/proc/self/fd/{held}")

        await asyncio.to_thread(work)

    yield Fault(subject=f"pod {record.id}", problem=problem, remedy=_DELETE_POD, repair=bind_again)


def _container(daemon: Daemon, record: ContainerRecord) -> Iterator[Fault]:
    subject = f"container {record.id}"
    try:
        found = process_state(record.pid)
        runs = found.start == record.pid_start and not found.zombie
    except ProcessLookupError:
        runs = False
    if not runs:
        yield Fault(subject=subject, problem=f"its process {record.pid} is gone unnoticed", remedy=_RESTART)
    elif record.cgroup:
        try:
            members = daemon.cgroups.open(record.cgroup).pids()
        except CgroupError as error:
            yield Fault(subject=subject, problem=f"its cgroup cannot be read: {error}", remedy=_RESTART)
        else:
            if record.pid not in members:
                problem = f"its process {record.pid} is not in its cgroup {record.cgroup}: its limits do not hold"
                yield Fault(subject=subject, problem=problem, remedy=_RESTART)
    directory = daemon.paths.container(record.id)
    if not record.config.linux.security_context.readonly_rootfs and not directory.is_dir():
        yield Fault(subject=subject, problem=f"its writable layer {directory} is gone", remedy=_RESTART)
    bundle = daemon.paths.bundle(record.id)
    if not (bundle / "config.json").exists():
        yield Fault(subject=subject, problem=f"its configuration {bundle}/config.json is gone", remedy=_RESTART)


def _pod_fault(record: SandboxRecord, problem: str) -> Fault:
    return Fault(subject=f"pod {record.id}", problem=problem, remedy=_DELETE_POD)
