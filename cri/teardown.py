"""Taking down what a record names: lists of idempotent steps, each of which may find its work done already.

Stop and Remove run them, a failed create runs them, and after a crash the reconciler runs them again from the same
record until every step has succeeded. A step that fails does not keep the later ones from running; the first failure
is raised at the end, the record stays, and the reconciler comes back to it. Deadlines belong to the steps themselves,
never to the RPC: a caller that hangs up must not leave half a pod.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cri.pod_files import release_pod_files
from cri.pod_network import attachment
from cri.shims import ShimGone
from cri.state.machine import ContainerState, Event, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord
from cri.stopping import kill_container
from oci import syscalls
from oci.errors import ContainerNotFound

if TYPE_CHECKING:
    from cri.daemon import Daemon

Step = tuple[str, Callable[[], Awaitable[None]]]


async def run_steps(daemon: Daemon, what: str, steps: list[Step]) -> None:
    """All steps in order; raises the first failure after the last step."""
    failure: Exception | None = None
    for name, step in steps:
        try:
            await step()
        except Exception as error:
            daemon.log.warning("%s: %s failed, will be tried again: %s", what, name, error)
            failure = failure or error
    if failure:
        daemon.reconciler.wake()
        raise failure


# --- containers ---------------------------------------------------------------------------------------------------


async def remove_container(daemon: Daemon, record: ContainerRecord) -> None:
    """Kill it if it runs, and take away everything it has, its record last."""
    if record.state is not ContainerState.REMOVING:
        record = daemon.containers.put(record.moved(Event.REMOVE))

    async def kill() -> None:
        await kill_container(daemon, record)
        await daemon.nri.removing(record)

    async def shim() -> None:
        pod = daemon.pods.get(record.sandbox_id)
        if pod is not None and pod.shim is not None:
            try:
                await pod.shim.delete(record.id)
            except (ContainerNotFound, ShimGone):
                pass  # it never came to be, or went before: what it had in the shim is gone
        daemon.forget_container(record.id)

    async def cgroup() -> None:
        if record.cgroup:
            await asyncio.to_thread(daemon.cgroups.open(record.cgroup).remove)

    async def files() -> None:
        await asyncio.to_thread(_remove_tree, daemon.paths.bundle(record.id))
        await daemon.trash.take(daemon.paths.container(record.id))
        _unlink(daemon.paths.exit_record(record.sandbox_id, record.id))

    await run_steps(
        daemon,
        f"container {record.id}",
        [("killing it", kill), ("the shim's share", shim), ("its cgroup", cgroup), ("its files", files)],
    )
    daemon.containers.drop(record.id)


# --- sandboxes ----------------------------------------------------------------------------------------------------


async def stop_sandbox(daemon: Daemon, record: SandboxRecord) -> None:
    """Kill the pod's containers and give back its network and namespaces; NOT_READY at the end."""
    if record.state is not SandboxState.REMOVING:
        record = daemon.sandboxes.put(record.moved(Event.STOP))

    async def containers() -> None:
        await asyncio.gather(*(kill_container(daemon, c) for c in daemon.containers_of(record.id)))
        await daemon.nri.stopping_pod(record)

    await run_steps(daemon, f"sandbox {record.id}", [("killing its containers", containers), *_release(daemon, record)])
    daemon.sandboxes.put(daemon.sandboxes.need(record.id).moved(Event.STOPPED))


async def remove_sandbox(daemon: Daemon, record: SandboxRecord) -> None:
    """Take away everything of the pod, its record last."""
    if record.state is not SandboxState.REMOVING:
        record = daemon.sandboxes.put(record.moved(Event.REMOVE))

    async def containers() -> None:
        await asyncio.gather(*(remove_container(daemon, c) for c in daemon.containers_of(record.id)))
        await daemon.nri.stopping_pod(record)

    async def files() -> None:
        _remove_tree(daemon.paths.sandbox(record.id))

    async def cgroup() -> None:
        if record.own_cgroup:
            await asyncio.to_thread(daemon.cgroups.open(record.cgroup).remove)

    await run_steps(
        daemon,
        f"sandbox {record.id}",
        [
            ("removing its containers", containers),
            *_release(daemon, record),
            ("its files", files),
            ("its cgroup", cgroup),
        ],
    )
    await daemon.nri.removing_pod(record)
    daemon.sandboxes.drop(record.id)


def _release(daemon: Daemon, record: SandboxRecord) -> list[Step]:
    """What a pod holds besides containers and files. The network goes first: plugins want the namespace alive."""

    async def network() -> None:
        if record.netns:
            await daemon.networks.delete(attachment(record))

    async def shim() -> None:
        pod = daemon.pods.get(record.id)
        if pod is not None and pod.shim is not None:
            try:
                await pod.shim.shutdown()
            except ShimGone:
                pass  # it died before it was asked to
        daemon.forget_pod(record.id)

    async def namespace() -> None:
        if record.netns:
            unbind(Path(record.netns))

    async def shm() -> None:
        release_pod_files(daemon.paths.sandbox(record.id))

    return [("its network", network), ("its shim", shim), ("its network namespace", namespace), ("its shm", shm)]


def unbind(path: Path) -> None:
    """Unmount a bound namespace and remove its file."""
    try:
        syscalls.umount2(path, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
    except OSError:
        pass  # not mounted: the shim died before it bound it, or it was unbound before; unlink tells the truth
    _unlink(path)


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _remove_tree(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
