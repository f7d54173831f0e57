"""What exists on this node, was made by this daemon, and belongs to no record: space, addresses, namespaces, processes.

Everything of a daemon can be told from that of another runtime by where it lies or how it is named: its directories,
its network's records, network namespaces with its mark (`cri.paths`), and cgroups named after container ids below the
cgroups of its own pods.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cri.check.faults import Fault, Repair
from cri.paths import NETNS_DIRECTORY
from cri.pod_network import attachment
from cri.shims import Shim, ShimGone
from oci import netns, syscalls
from oci.cgroups.children import children

if TYPE_CHECKING:
    from cri.daemon import Daemon

_BY_HAND: Final = "look why it cannot be removed: a process may still use it (fuser -vm, lsof)"


async def leftovers(daemon: Daemon) -> list[Fault]:
    found = await asyncio.to_thread(
        lambda: [*_layers(daemon), *_directories(daemon), *_mounts(daemon), *_namespaces(daemon), *_cgroups(daemon)]
    )
    return [*found, *await _network(daemon)]


def _layers(daemon: Daemon) -> Iterator[Fault]:
    for path in daemon.images.upkeep.strays():
        yield _fault(f"file {path}", "no image has this layer", _to_trash(daemon, path))


def _directories(daemon: Daemon) -> Iterator[Fault]:
    paths = daemon.paths
    pods: set[str] = {record.id for record in daemon.sandboxes}
    containers: set[str] = {record.id for record in daemon.containers}
    for path in _unknown(paths.sandbox("x").parent, pods):
        yield _fault(f"directory {path}", "no pod has it", _release_sandbox(daemon, path))
    for directory in (paths.bundle("x").parent, paths.container("x").parent):
        for path in _unknown(directory, containers):
            yield _fault(f"directory {path}", "no container has it", _to_trash(daemon, path))


def _unknown(directory: Path, known: set[str]) -> Iterator[Path]:
    for name in sorted(os.listdir(directory)):
        if name not in known:
            yield directory / name


def _mounts(daemon: Daemon) -> Iterator[Fault]:
    """Mounts below directories of pods and containers that are not there any more."""
    paths = daemon.paths
    owners = {record.id for record in daemon.sandboxes} | {record.id for record in daemon.containers}
    places = [paths.sandbox("x").parent, paths.bundle("x").parent, paths.container("x").parent]
    for target in reversed(_mount_targets()):
        for place in places:
            if target.is_relative_to(place) and target != place and target.relative_to(place).parts[0] not in owners:
                yield _fault(f"mount {target}", "no pod and no container has it", _unmount(target))


def _mount_targets() -> list[Path]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        fields = [line.split(" ")[4] for line in file]
    return [Path(field.encode().decode("unicode_escape") if "\\" in field else field) for field in fields]


def _namespaces(daemon: Daemon) -> Iterator[Fault]:
    used = {record.netns for record in daemon.sandboxes}
    mark = daemon.paths.netns_mark
    for name in sorted(os.listdir(NETNS_DIRECTORY)) if NETNS_DIRECTORY.is_dir() else ():
        path = NETNS_DIRECTORY / name
        if name.startswith(mark) and str(path) not in used:
            yield _fault(f"network namespace {path}", "no pod has it", _forget_namespace(path))


def _cgroups(daemon: Daemon) -> Iterator[Fault]:
    containers = {record.id for record in daemon.containers}
    for parent in sorted({record.cgroup for record in daemon.sandboxes if record.cgroup}):
        for cgroup in children(daemon.cgroups, parent):
            owner = container_of(cgroup)
            if owner and owner not in containers:
                yield _fault(f"cgroup {cgroup}", "no container has it", _end_cgroup(daemon, cgroup))


def container_of(cgroup: str) -> str:
    """The container that a cgroup is named after, in either driver's way; "" for other cgroups."""
    name = cgroup.rpartition("/")[2].removeprefix("coracle-").removesuffix(".scope")
    return name if len(name) == 64 and set(name) <= set("0123456789abcdef") else ""


async def _network(daemon: Daemon) -> list[Fault]:
    async def release() -> None:
        await daemon.networks.gc([attachment(record) for record in daemon.sandboxes])

    unowned = await daemon.networks.unowned([attachment(record) for record in daemon.sandboxes])
    return [_fault(what, "no pod has it", release) for what in unowned]


# --- repairs ----------------------------------------------------------------------------------------------------------


def _to_trash(daemon: Daemon, path: Path) -> Repair:
    async def repair() -> None:
        await asyncio.to_thread(daemon.trash.take, path)

    return repair


def _release_sandbox(daemon: Daemon, path: Path) -> Repair:
    async def repair() -> None:
        """A shim that still listens there is ended first, and its containers with it: nobody can reach them."""
        try:
            shim = await Shim.connect(path.name, str(path))
        except (ShimGone, OSError):
            pass
        else:
            await shim.shutdown()
        await asyncio.to_thread(_clear, path)

    return repair


def _clear(path: Path) -> None:
    for target in reversed(_mount_targets()):
        if target.is_relative_to(path):
            syscalls.umount2(str(target), syscalls.MNT_DETACH)
    shutil.rmtree(path)


def _unmount(target: Path) -> Repair:
    async def repair() -> None:
        await asyncio.to_thread(syscalls.umount2, str(target), syscalls.MNT_DETACH)

    return repair


def _forget_namespace(path: Path) -> Repair:
    async def repair() -> None:
        await asyncio.to_thread(netns.remove, str(path))

    return repair


def _end_cgroup(daemon: Daemon, cgroup: str) -> Repair:
    async def repair() -> None:
        def work() -> None:
            found = daemon.cgroups.open(cgroup)
            found.kill(signal.SIGKILL)
            found.remove()

        await asyncio.to_thread(work)

    return repair


def _fault(subject: str, problem: str, repair: Repair) -> Fault:
    return Fault(subject=subject, problem=problem, remedy=_BY_HAND, repair=repair)
