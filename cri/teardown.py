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
import signal
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cri.errors import DeadlineExceeded
from cri.host import kill_process
from cri.pod_files import release_pod_files
from cri.pod_network import attachment
from cri.shims import ShimGone, ShimHung
from cri.state.machine import ContainerState, Event, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord
from cri.stopping import abort_creation, kill_container
from oci import syscalls
from oci.cgroups import Cgroup
from oci.errors import ContainerNotFound
from oci.shim.handlers import bundle as handlers_bundle
from oci.shim.handlers import verbs

if TYPE_CHECKING:
    from cri.daemon import Daemon

Step = tuple[str, Callable[[], Awaitable[None]]]

#: For one step; what hangs longer is left and tried again.
STEP_DEADLINE_S = 60.0
#: A shim has next to nothing to do when it ends; one that does not answer is killed.
SHUTDOWN_DEADLINE_S = 10.0


async def run_steps(daemon: Daemon, what: str, steps: list[Step]) -> None:
    """All steps in order; raises the first failure after the last step."""
    failure: Exception | None = None
    for name, step in steps:
        try:
            async with asyncio.timeout(STEP_DEADLINE_S) as limit:
                await step()
        except Exception as error:
            late = DeadlineExceeded(f"{what}: {name} took longer than {STEP_DEADLINE_S:.0f} s")
            problem = late if limit.expired() else error
            daemon.log.warning("%s: %s failed, will be tried again: %s", what, name, problem)
            failure = failure or problem
    if failure:
        daemon.reconciler.wake()
        raise failure


async def all_of(work: Iterable[Awaitable[object]]) -> None:
    """Every one comes to its end, then the first failure is raised."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


# --- containers ---------------------------------------------------------------------------------------------------


async def remove_container(daemon: Daemon, container_id: str, patience_s: float | None = None) -> None:
    """Kill it if it runs, and take away everything it has, its record last. Joins a removal under way."""
    await daemon.joined.run(
        ("remove", container_id),
        f"removing container {container_id}",
        lambda progress: _remove_container(daemon, container_id),
        patience_s,
    )


async def _remove_container(daemon: Daemon, container_id: str) -> None:
    found = daemon.containers.get(container_id)
    if found is None:
        return
    record = daemon.containers.put(found.moved(Event.REMOVE))

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
            await asyncio.to_thread(_empty_and_remove, daemon.cgroups.open(record.cgroup))

    async def files() -> None:
        await asyncio.to_thread(_remove_files, daemon, record)

    await run_steps(
        daemon,
        f"container {record.id}",
        [("killing it", kill), ("the shim's share", shim), ("its cgroup", cgroup), ("its files", files)],
    )
    daemon.containers.drop(record.id)


async def undo_container(daemon: Daemon, container_id: str, reason: BaseException) -> None:
    """After a failed creation. A failure of this is no news for the caller: the reconciler goes on with it."""
    if record := daemon.containers.get(container_id):
        daemon.containers.put(record.moved(Event.FAILED, reason=str(reason)))
        await asyncio.gather(remove_container(daemon, container_id), return_exceptions=True)


def _empty_and_remove(cgroup: Cgroup) -> None:
    """Without a shim nobody else has ended what the container's init left behind."""
    cgroup.kill(signal.SIGKILL)
    cgroup.remove()


def _remove_files(daemon: Daemon, record: ContainerRecord) -> None:
    bundle = daemon.paths.bundle(record.id)
    runtime = daemon.foreign_runtime(record.sandbox_id)
    if runtime is not None:  # what the shim was there for to do is done already
        verbs.delete(runtime, record.id, str(bundle))
    handlers_bundle.detach(str(bundle))  # a handler that is configured no more: no mount may be removed with the tree
    _remove_tree(bundle)
    daemon.trash.take(daemon.paths.container(record.id))
    _unlink(daemon.paths.exit_record(record.sandbox_id, record.id))


# --- sandboxes ----------------------------------------------------------------------------------------------------


async def stop_sandbox(daemon: Daemon, sandbox_id: str, patience_s: float | None = None) -> None:
    """Kill the pod's containers and give back its network and namespaces; NOT_READY at the end.

    Joins a stop under way.
    """
    await daemon.joined.run(
        ("stop", sandbox_id),
        f"stopping sandbox {sandbox_id}",
        lambda progress: _stop_sandbox(daemon, sandbox_id),
        patience_s,
    )


async def _stop_sandbox(daemon: Daemon, sandbox_id: str) -> None:
    found = daemon.sandboxes.get(sandbox_id)
    if found is None or found.state is SandboxState.REMOVING:
        return
    record = daemon.sandboxes.put(found.moved(Event.STOP))

    async def containers() -> None:
        await _abort_creations(daemon, record)
        await all_of(kill_container(daemon, c) for c in daemon.containers_of(record.id))
        await daemon.nri.stopping_pod(record)

    await run_steps(daemon, f"sandbox {record.id}", [("killing its containers", containers), *_release(daemon, record)])
    if stopped := daemon.sandboxes.get(record.id):
        daemon.sandboxes.put(stopped.moved(Event.STOPPED))


async def remove_sandbox(daemon: Daemon, sandbox_id: str, patience_s: float | None = None) -> None:
    """Take away everything of the pod, its record last. Joins a removal under way."""
    await daemon.joined.run(
        ("remove", sandbox_id),
        f"removing sandbox {sandbox_id}",
        lambda progress: _remove_sandbox(daemon, sandbox_id),
        patience_s,
    )


async def _remove_sandbox(daemon: Daemon, sandbox_id: str) -> None:
    found = daemon.sandboxes.get(sandbox_id)
    if found is None:
        return
    record = daemon.sandboxes.put(found.moved(Event.REMOVE))

    async def containers() -> None:
        await daemon.joined.settle(lambda key: key == ("stop", record.id))
        await _abort_creations(daemon, record)
        await all_of(remove_container(daemon, c.id) for c in daemon.containers_of(record.id))
        await daemon.nri.stopping_pod(record)

    async def files() -> None:
        await asyncio.to_thread(_remove_tree, daemon.paths.sandbox(record.id))

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


async def undo_sandbox(daemon: Daemon, sandbox_id: str, reason: BaseException) -> None:
    """After a failed creation, like `undo_container`."""
    if record := daemon.sandboxes.get(sandbox_id):
        daemon.sandboxes.put(record.moved(Event.FAILED, reason=str(reason)))
        await asyncio.gather(remove_sandbox(daemon, sandbox_id), return_exceptions=True)


async def _abort_creations(daemon: Daemon, record: SandboxRecord) -> None:
    """No container comes to be in a pod that ends; what is being made is undone by the call that makes it."""
    making = [c for c in daemon.containers_of(record.id) if c.state is ContainerState.CREATING]
    await all_of(abort_creation(daemon, c) for c in making)
    await daemon.joined.settle(lambda key: isinstance(key, tuple) and key[:2] == ("container", record.id))


def _release(daemon: Daemon, record: SandboxRecord) -> list[Step]:
    """What a pod holds besides containers and files. The network goes first: plugins want the namespace alive."""

    async def network() -> None:
        if record.netns:
            await daemon.networks.delete(attachment(record))

    async def shim() -> None:
        pod = daemon.pods.get(record.id)
        if pod is not None and pod.shim is not None:
            try:
                async with asyncio.timeout(SHUTDOWN_DEADLINE_S):
                    await pod.shim.shutdown()
            except ShimGone:
                pass  # it died before it was asked to
            except (TimeoutError, ShimHung):
                pod.shim.kill_shim()
        daemon.forget_pod(record.id)

    async def init() -> None:
        if record.init_pid:
            kill_process(record.init_pid, record.init_start)  # the shim does it, if there is one

    async def namespace() -> None:
        if record.netns:
            unbind(Path(record.netns))

    async def shm() -> None:
        release_pod_files(daemon.paths.sandbox(record.id))

    return [
        ("its network", network),
        ("its shim", shim),
        ("its init", init),
        ("its network namespace", namespace),
        ("its shm", shm),
    ]


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
