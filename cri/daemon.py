"""The daemon put together: one object that the RPC handlers are given, with every part that they need.

It owns no policy. The records are in `cri.state`, what is alive in `cri.live`, the steps in the files of the RPCs.

    Daemon.open    database → images → network → launcher → recovery; then it serves
    Daemon.close   waits for calls under way; containers, shims and networks stay as they are
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING

from cni.network import Networks
from cri import apparmor, exits, health, host, pod_addresses, recovery, user_namespaces, views
from cri.checkpoint.support import Support
from cri.config.schema import Selinux, Settings
from cri.errors import FailedPrecondition, Unavailable
from cri.events import Events
from cri.features import OWN_HANDLERS, Features
from cri.joined import JoinedCalls
from cri.live import LiveContainer, LivePod
from cri.nri.lifecycle import Nri
from cri.page_merging import PageMerging
from cri.part_settings import image_settings, network_settings
from cri.paths import Paths
from cri.pod_cgroups import PodCgroups, pod_cgroups
from cri.programs import Programs
from cri.reconciler import Reconciler
from cri.selinux.labels import Policy
from cri.selinux.policy import find_policy
from cri.service_cgroup import cgroup_of_shims
from cri.shims import Launcher, Shim, ShimGone
from cri.specgen import HostFacts
from cri.state import records, store
from cri.state.database import Checkpointer, migrate, open_database
from cri.state.records import ContainerRecord, SandboxRecord
from cri.state.store import Table
from cri.stats import ContainerStatistics
from cri.streaming.daemon_runtime import DaemonRuntime
from cri.streaming.server import StreamingServer
from cri.trash import Trash
from imagesvc.service import ImageService
from oci import cgroups
from oci.cgroups import CgroupDriver
from oci.protocol.messages import ContainerHandles, OciRuntime
from oci.seccomp import FilterCache

if TYPE_CHECKING:
    from cri.metrics import Metrics

_SHIM_REPAIR_DEADLINE_S = 10.0
_DRAIN_S = 15.0
_LAUNCH_PAUSE_S = 1.0


class Daemon:
    """See the module. Built by `open` only."""

    settings: Settings
    paths: Paths
    images: ImageService
    networks: Networks
    launcher: Launcher
    launching: asyncio.Future[None]
    releasing: asyncio.Future[None]
    cgroups: CgroupDriver
    pod_cgroups: PodCgroups
    host: HostFacts
    features: Features
    trash: Trash
    checkpointer: Checkpointer
    reconciler: Reconciler
    statistics: ContainerStatistics
    nri: Nri
    streaming: StreamingServer

    def __init__(self, settings: Settings, metrics: Metrics, database: sqlite3.Connection) -> None:
        self.log = logging.getLogger("cri.daemon")
        self.settings = settings
        self.metrics = metrics
        self.paths = Paths(root=settings.root, runroot=settings.runroot)
        self.boot_id = host.boot_id()
        self._foreign = {
            one.name: OciRuntime(path=str(one.path), root=str(self.paths.handler(one.name, one.root)))
            for one in settings.runtime.handlers
        }
        self.runtime_handlers: tuple[str, ...] = (*OWN_HANDLERS, *self._foreign)
        self.joined = JoinedCalls(metrics.stalled)
        metrics.count_zombies_with(host.zombies)
        self.seccomp = FilterCache()
        self.programs = Programs()
        self.checkpoints = Support(settings.runtime.criu)
        self.page_merging = PageMerging(self.paths.runroot / "ksm-is-ours")
        self.pods: dict[str, LivePod] = {}
        self.live_containers: dict[str, LiveContainer] = {}
        self.closing = False
        self.apparmor = ""  #: the state of it, in words
        self.selinux: Policy | None = None  #: None where nothing gets labels
        self.selinux_state = "turned off (runtime.selinux)"
        self.launcher_problem = ""  #: why no shim can be started now
        self.recovering: set[asyncio.Task[None]] = set()  #: pods whose shims have not answered yet, at start
        self._database = database
        self.sandboxes: Table[SandboxRecord] = Table(
            database,
            name="sandboxes",
            kind="sandbox",
            to_row=records.to_row,
            from_row=records.sandbox_from_row,
            list_entry=views.sandbox_entry,
            group=records.sandbox_key,
        )
        self.containers: Table[ContainerRecord] = Table(
            database,
            name="containers",
            kind="container",
            to_row=records.to_row,
            from_row=records.container_from_row,
            list_entry=views.container_entry,
            group=lambda record: record.sandbox_id,
        )
        self.events = Events(self.sandboxes, self.containers)

    @classmethod
    async def open(cls, settings: Settings, metrics: Metrics) -> Daemon:
        """Everything ready to serve; records agree with what is alive. Raises CriError, OciError, OSError."""
        paths = Paths(root=settings.root, runroot=settings.runroot)
        paths.make()
        database = open_database(paths.database)
        migrate(database, "cri", store.MIGRATIONS)
        daemon = cls(settings, metrics, database)
        daemon.checkpointer = Checkpointer(paths.database)
        daemon.trash = Trash(paths.root / "trash")
        daemon.cgroups = cgroups.detect(settings.cgroup_manager.value)
        daemon.pod_cgroups = pod_cgroups(daemon.cgroups, settings.runtime.cgroup_root)
        daemon.host = host.host_facts(
            cgroup_v2=daemon.cgroups.name != "v1", hugetlb="hugetlb" in daemon.cgroups.controllers
        )
        daemon.apparmor = "not enabled in this kernel"
        if daemon.host.apparmor:
            lacking = await asyncio.to_thread(apparmor.load_default)
            daemon.apparmor = lacking or f"{apparmor.PROFILE_NAME} is loaded"
            if lacking:
                daemon.log.warning("AppArmor: %s", lacking)
        if settings.runtime.selinux is not Selinux.OFF:
            daemon.selinux, daemon.selinux_state = find_policy()
            if daemon.selinux is None and daemon.selinux_state.startswith("enabled"):
                daemon.log.warning("SELinux: %s", daemon.selinux_state)
        daemon.launcher = Launcher(cgroup=cgroup_of_shims(daemon.cgroups, settings.runtime.cgroup_root))
        daemon.images = await ImageService.open(image_settings(settings), database, migrate=migrate)
        lacking = await user_namespaces.problem(daemon.images, settings.root)
        if lacking:
            daemon.log.info("pods cannot have user namespaces here: %s", lacking)
        daemon.features = host.features(user_namespaces=not lacking)
        daemon.networks = await Networks.open(network_settings(settings))
        if settings.runtime.merge_memory:
            daemon.page_merging.turn_on()
        daemon.statistics = ContainerStatistics(daemon)
        daemon.nri = Nri(daemon)
        daemon.reconciler = Reconciler(daemon)
        await recovery.recover(daemon)
        # Only now, so that shims and launcher do not compete for the processors: pods that run need no launcher.
        daemon.launching = asyncio.ensure_future(daemon.launch())
        await pod_addresses.release(daemon)
        daemon.releasing = asyncio.ensure_future(pod_addresses.release_once_more(daemon))
        daemon.reconciler.wake()
        await daemon.nri.open()
        daemon.streaming = await StreamingServer.open(settings.streaming, DaemonRuntime(daemon))
        return daemon

    async def launch(self) -> None:
        """Until a launcher runs; meanwhile the runtime is not ready, and what needs a shim waits."""
        while True:
            try:
                await self.launcher.start()
            except (OSError, ShimGone) as error:
                self.launcher_problem = f"no pod can be started: {error}"
                self.log.error("the launcher cannot be started, next try in %.0f s: %s", _LAUNCH_PAUSE_S, error)
                await asyncio.sleep(_LAUNCH_PAUSE_S)
            else:
                self.launcher_problem = ""
                return

    async def close(self) -> None:
        self.launching.cancel()
        self.releasing.cancel()
        await self.reconciler.close()
        await self.joined.drain(_DRAIN_S)
        self.closing = True
        for late in self.recovering:
            late.cancel()
        await self.streaming.close()
        await self.nri.close()
        self.events.close()
        for pod in self.pods.values():
            if pod.repairing:
                pod.repairing.cancel()
            if pod.shim:
                pod.shim.disconnect()
            pod.close()
        for live in self.live_containers.values():
            live.close()
        await self.launcher.close()
        if not self.sandboxes:
            self.page_merging.turn_off()
            await self._leave_no_cgroups()
        await self.networks.close()
        await self.images.close()
        await self.trash.close()
        self.statistics.close()
        self.programs.close()
        self.checkpointer.close()
        self._database.close()

    async def _leave_no_cgroups(self) -> None:
        """Without pods nothing of ours has to stay on the host; another daemon's shims keep the cgroup they share."""
        root = self.settings.runtime.cgroup_root
        for path in (f"{root}/shims", root):
            await asyncio.to_thread(self.cgroups.open(path).remove_if_empty)

    async def health(self) -> str:
        return await health.problem(self)

    def note_health(self) -> None:
        """One row that says when the daemon was last well. Raises sqlite3.Error."""
        self._database.execute("INSERT OR REPLACE INTO health (id, seen_at) VALUES (1, ?)", (self.now(),))

    # --- small services for the handlers --------------------------------------------------------------------------

    def now(self) -> int:
        return time.time_ns()

    def new_id(self) -> str:
        return secrets.token_hex(32)

    def containers_of(self, sandbox_id: str) -> list[ContainerRecord]:
        return self.containers.grouped(sandbox_id)

    # --- pods and their shims -------------------------------------------------------------------------------------

    def hold_pod(self, sandbox_id: str, shim: Shim) -> LivePod:
        """From now on the shim's events and its death are acted upon."""
        pod = self.pods[sandbox_id] = LivePod(shim=shim)
        pod.shim_ready.set()
        self.watch_shim(sandbox_id, shim)
        return pod

    def watch_shim(self, sandbox_id: str, shim: Shim) -> None:
        if record := self.sandboxes.get(sandbox_id):
            metadata = record.config.metadata
            shim.call_it(f"pod {metadata.namespace}/{metadata.name} (sandbox {sandbox_id}): its shim")
        shim.listen(
            on_event=lambda event: exits.on_event(self, sandbox_id, event),
            on_lost=lambda: exits.on_shim_lost(self, sandbox_id),
            on_heard=lambda: exits.apply_unheard_starts(self, sandbox_id),
        )

    async def shim_of(self, sandbox_id: str) -> Shim:
        """The pod's shim; waits while a dead one is being replaced. Raises FailedPrecondition, Unavailable."""
        pod = self.pods.get(sandbox_id)
        if pod is None:
            raise FailedPrecondition(f"sandbox {sandbox_id} is not running")
        try:
            async with asyncio.timeout(_SHIM_REPAIR_DEADLINE_S):
                await pod.shim_ready.wait()
        except TimeoutError:
            pass
        if pod.shim is None:
            raise Unavailable(f"sandbox {sandbox_id}: its shim died and no new one could be started yet; see the log")
        return pod.shim

    def forget_pod(self, sandbox_id: str) -> None:
        self.statistics.forget(sandbox_id)
        if pod := self.pods.pop(sandbox_id, None):
            if pod.repairing:
                pod.repairing.cancel()
            pod.close()

    def foreign_runtime(self, sandbox_id: str) -> OciRuntime | None:
        """What runs the pod's containers where our own executor does not."""
        record = self.sandboxes.get(sandbox_id)
        return None if record is None else self._foreign.get(record.runtime_handler)

    # --- containers -----------------------------------------------------------------------------------------------

    def hold_container(self, container_id: str, handles: ContainerHandles | None = None) -> LiveContainer:
        """Without handles for one that is only going to be made."""
        live = self.live_containers[container_id] = LiveContainer(handles=handles or ContainerHandles(pid=0))
        return live

    def forget_container(self, container_id: str) -> None:
        if live := self.live_containers.pop(container_id, None):
            live.close()
        self.statistics.forget(container_id)

    def apply_pending_exit(self, live: LiveContainer) -> None:
        if event := live.pending_exit:
            live.pending_exit = None
            exits.on_container_exit(self, event)
