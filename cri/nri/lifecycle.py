"""What the daemon tells plugins of its pods and containers, and does for them: the methods that the RPC handlers call.

Each pod and container is told of completely and once: created, stopped, removed, in this order, or as part of a
synchronization and then stopped and removed. `_known` are those that plugins have heard of, `_live` those of them whose
stop has not been told. A container that ends by itself is told of when its record says so (`_container_changed`).

Creations pass a gate that a joining plugin closes for the moment of its synchronization: what it is shown and what it
is called for have neither a gap nor an overlap.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from cri.cdi import catalog
from cri.errors import CriError, FailedPrecondition
from cri.nri import adjust, events, views
from cri.nri.adaptation import Adaptation
from cri.nri.api import nri_pb2 as nri
from cri.nri.gate import Gate
from cri.nri.launch import installed
from cri.nri.plugin import Plugin, Terms
from cri.nri.resources import adjusted_resources, from_cri, from_spec, to_cri
from cri.nri.server import Server
from cri.runtime_service.update_container_resources import merged
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord
from cri.stopping import stop_container
from cri.version import RUNTIME_NAME, VERSION
from oci import spec
from oci.errors import OciError

if TYPE_CHECKING:
    from cri.daemon import Daemon

_ALIVE: Final = (ContainerState.CREATED, ContainerState.RUNNING)
_EVICTION_GRACE_S: Final = 10.0


class Nri:
    def __init__(self, daemon: Daemon) -> None:
        settings = daemon.settings.nri
        self._daemon = daemon
        self._log = logging.getLogger("cri.nri")
        self._adaptation = Adaptation()
        self._gate = Gate()
        self._known: set[str] = set()
        self._live: set[str] = set()
        self._stops: dict[str, asyncio.Task[None]] = {}
        self._evictions: set[asyncio.Task[None]] = set()
        terms = Terms(
            runtime_name=RUNTIME_NAME,
            runtime_version=VERSION,
            registration_timeout_s=settings.registration_timeout,
            request_timeout_s=settings.request_timeout,
        )
        self._server = Server(terms, join=self._join, lost=self._adaptation.drop, update=self._update_containers)

    async def open(self) -> None:
        """Take up what the records say; start the installed plugins; let others connect."""
        daemon, settings = self._daemon, self._daemon.settings.nri
        for sandbox in daemon.sandboxes:
            if sandbox.state is not SandboxState.CREATING:
                self._known.add(sandbox.id)
            if sandbox.state in (SandboxState.READY, SandboxState.STOPPING):
                self._live.add(sandbox.id)
        for container in daemon.containers:
            if container.state is not ContainerState.CREATING:
                self._known.add(container.id)
            if container.state in _ALIVE:
                self._live.add(container.id)
        daemon.containers.observers.append(self._container_changed)
        if not settings.enable:
            return
        await self._server.start(installed(settings.plugin_path, settings.plugin_config_path))
        if not settings.disable_connections:
            try:
                await self._server.listen(settings.socket_path)
            except OSError as error:
                self._log.error("NRI plugins cannot connect: %s: %s", settings.socket_path, error)

    async def close(self) -> None:
        await self._server.close()
        tasks = (*self._stops.values(), *self._evictions)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- pods ---------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def making_pod(self, record: SandboxRecord) -> AsyncIterator[None]:
        """Around the moment in which a pod becomes visible. Raises PluginRefused."""
        async with self._gate.shared():
            self._known.add(record.id)
            self._live.add(record.id)
            async with self._adaptation.turn():
                if self._adaptation.plugins:
                    await self._adaptation.ask(events.RUN_POD_SANDBOX, nri.RunPodSandboxRequest(pod=views.pod(record)))
            yield

    async def updating_pod(self, record: SandboxRecord) -> None:
        """`record` is as it is going to be. Raises PluginRefused."""
        async with self._adaptation.turn():
            if self._adaptation.plugins:
                linux = record.config.linux
                request = nri.UpdatePodSandboxRequest(
                    pod=views.pod(record),
                    overhead_linux_resources=from_cri(linux.overhead),
                    linux_resources=from_cri(linux.resources),
                )
                await self._adaptation.ask(events.UPDATE_POD_SANDBOX, request)

    async def updated_pod(self, record: SandboxRecord) -> None:
        async with self._adaptation.turn():
            if self._adaptation.plugins:
                request = nri.PostUpdatePodSandboxRequest(pod=views.pod(record))
                await self._adaptation.tell(events.POST_UPDATE_POD_SANDBOX, request)

    async def stopping_pod(self, record: SandboxRecord) -> None:
        """Its containers have stopped, its namespaces are there yet."""
        for container in self._daemon.containers_of(record.id):
            await self.stopped(container.id)
        async with self._adaptation.turn():
            if record.id in self._live:
                self._live.discard(record.id)
                if self._adaptation.plugins:
                    request = nri.StopPodSandboxRequest(pod=views.pod(record))
                    await self._adaptation.tell(events.STOP_POD_SANDBOX, request)

    async def removing_pod(self, record: SandboxRecord) -> None:
        """Nothing of it is left but the record."""
        async with self._adaptation.turn():
            if record.id in self._known:
                self._known.discard(record.id)
                if self._adaptation.plugins:
                    request = nri.RemovePodSandboxRequest(pod=views.pod(record))
                    await self._adaptation.tell(events.REMOVE_POD_SANDBOX, request)

    # --- containers ---------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def making_container(
        self, sandbox: SandboxRecord, record: ContainerRecord, specification: spec.Spec
    ) -> AsyncIterator[tuple[ContainerRecord, spec.Spec]]:
        """Around the making of a container: its record and its spec, as plugins adjust them.

        Raises PluginRefused; InvalidArgument when an adjustment cannot be made here.
        """
        async with self._gate.shared():
            self._known.add(record.id)
            self._live.add(record.id)
            if self._adaptation.busy:
                record, specification = await self._ask_for_adjustments(sandbox, record, specification)
            yield record, specification
            async with self._adaptation.turn():
                if self._adaptation.plugins:
                    made = self._daemon.containers.need(record.id)
                    request = nri.PostCreateContainerRequest(
                        pod=views.pod(sandbox), container=views.container(made, specification)
                    )
                    await self._adaptation.tell(events.POST_CREATE_CONTAINER, request)

    def _inject_cdi(self, base: spec.Spec, names: Sequence[str]) -> spec.Spec:
        directories = self._daemon.settings.runtime.cdi_directories
        return catalog.inject(directories, base, names, "adjust.CDI_devices")

    async def _ask_for_adjustments(
        self, sandbox: SandboxRecord, record: ContainerRecord, specification: spec.Spec
    ) -> tuple[ContainerRecord, spec.Spec]:
        async with self._adaptation.turn():
            request = nri.CreateContainerRequest(
                pod=views.pod(sandbox), container=views.container(record, specification)
            )
            adjustment, updates, evictions = await self._adaptation.create_container(request)
        specification = await asyncio.to_thread(adjust.apply, specification, adjustment, self._inject_cdi)
        record = self._daemon.containers.need(record.id)
        if record.state is not ContainerState.CREATING:
            raise FailedPrecondition(f"container {record.id} is {record.state}: it was taken away while it was made")
        linux = adjustment.linux
        if linux.cgroups_path:
            record = record.with_(cgroup=linux.cgroups_path)
        if linux.HasField("resources"):
            resources = merged(record.resources, to_cri(linux.resources))
            record = record.with_(resources_bytes=resources.SerializeToString())
        record = self._daemon.containers.put(record)
        await self._carry_out(updates)
        self._evict(evictions)
        return record, specification

    async def starting(self, record: ContainerRecord) -> None:
        """Raises PluginRefused; the container stays as it is then."""
        async with self._adaptation.turn():
            if self._adaptation.plugins:
                pod, container = self._messages(record)
                request = nri.StartContainerRequest(pod=pod, container=container)
                await self._adaptation.ask(events.START_CONTAINER, request)

    async def started(self, record: ContainerRecord) -> None:
        async with self._adaptation.turn():
            if self._adaptation.plugins:
                pod, container = self._messages(record)
                request = nri.PostStartContainerRequest(pod=pod, container=container)
                await self._adaptation.tell(events.POST_START_CONTAINER, request)

    async def updating(self, record: ContainerRecord, wanted: spec.Resources) -> spec.Resources:
        """What to set instead of `wanted`. Raises PluginRefused, InvalidArgument."""
        if not self._adaptation.busy:
            return wanted
        async with self._adaptation.turn():
            pod, container = self._messages(record)
            request = nri.UpdateContainerRequest(pod=pod, container=container, linux_resources=from_spec(wanted))
            asked = from_spec(wanted)
            result, updates, evictions = await self._adaptation.update_container(request)
        await self._carry_out(updates)
        self._evict(evictions)
        return wanted if result == asked else adjusted_resources(spec.Resources(), result)

    async def updated(self, record: ContainerRecord) -> None:
        async with self._adaptation.turn():
            if self._adaptation.plugins:
                pod, container = self._messages(record)
                request = nri.PostUpdateContainerRequest(pod=pod, container=container)
                await self._adaptation.tell(events.POST_UPDATE_CONTAINER, request)

    async def stopped(self, container_id: str) -> None:
        """Returns when plugins have been told that the container has stopped."""
        if stop := self._stops.get(container_id):
            await asyncio.shield(stop)

    async def removing(self, record: ContainerRecord) -> None:
        """It is dead; its files are there yet."""
        updates: list[nri.ContainerUpdate] = []
        async with self._adaptation.turn():
            if record.id in self._live:
                self._live.discard(record.id)
                if self._adaptation.plugins:
                    updates = await self._tell_stop(record)
            if record.id in self._known:
                self._known.discard(record.id)
                if self._adaptation.plugins:
                    pod, container = self._messages(record)
                    request = nri.RemoveContainerRequest(pod=pod, container=container)
                    await self._adaptation.tell(events.REMOVE_CONTAINER, request)
        await self._try_to_carry_out(updates)

    # --- stops --------------------------------------------------------------------------------------------------------

    def _container_changed(self, before: ContainerRecord | None, after: ContainerRecord | None) -> None:
        if after is None or after.state is not ContainerState.EXITED or after.id not in self._live:
            return
        if self._adaptation.busy:
            task = self._stops[after.id] = asyncio.ensure_future(self._stop(after))
            task.add_done_callback(lambda _: self._stops.pop(after.id, None))
        else:
            self._live.discard(after.id)

    async def _stop(self, record: ContainerRecord) -> None:
        async with self._adaptation.turn():
            if record.id not in self._live:
                return
            self._live.discard(record.id)
            updates = await self._tell_stop(record)
        await self._try_to_carry_out(updates)

    async def _tell_stop(self, record: ContainerRecord) -> list[nri.ContainerUpdate]:
        pod, container = self._messages(record)
        return await self._adaptation.stop_container(nri.StopContainerRequest(pod=pod, container=container))

    # --- what plugins want --------------------------------------------------------------------------------------------

    async def _update_containers(self, request: nri.UpdateContainersRequest) -> nri.UpdateContainersResponse:
        failed = []
        for update in request.update:
            try:
                await self._carry_out([update])
            except (CriError, OciError, OSError) as error:
                self._log.warning("NRI: container %s could not be updated: %s", update.container_id, error)
                failed.append(update)
        self._evict(request.evict)
        return nri.UpdateContainersResponse(failed=failed)

    async def _try_to_carry_out(self, updates: Iterable[nri.ContainerUpdate]) -> None:
        request = nri.UpdateContainersRequest(update=updates)
        if request.update:
            await self._update_containers(request)

    async def _carry_out(self, updates: Iterable[nri.ContainerUpdate]) -> None:
        """Raises what the first update that may not fail raised."""
        for update in updates:
            try:
                await self._carry_out_one(update.container_id, update.linux.resources)
            except (CriError, OciError, OSError) as error:
                if not update.ignore_failure:
                    raise
                self._log.info("NRI: container %s could not be updated: %s", update.container_id, error)

    async def _carry_out_one(self, container_id: str, resources: nri.LinuxResources) -> None:
        containers = self._daemon.containers
        record = containers.need(container_id)
        if record.state not in _ALIVE:
            raise FailedPrecondition(f"container {record.id} is {record.state}: it has no resources to update")
        wanted = adjusted_resources(spec.Resources(), resources)
        live = self._daemon.live_containers.get(record.id)
        async with live.limiting if live else nullcontext():
            await asyncio.to_thread(self._daemon.cgroups.open(record.cgroup).update, wanted)
            record = containers.need(container_id)
            now = merged(record.resources, to_cri(from_spec(wanted)))
            containers.put(record.with_(resources_bytes=now.SerializeToString()))

    def _evict(self, evictions: Iterable[nri.ContainerEviction]) -> None:
        for eviction in evictions:
            task = asyncio.ensure_future(self._evict_one(eviction.container_id, eviction.reason))
            self._evictions.add(task)
            task.add_done_callback(self._evictions.discard)

    async def _evict_one(self, container_id: str, reason: str) -> None:
        self._log.warning("NRI: container %s is evicted: %s", container_id, reason or "no reason given")
        try:
            record = self._daemon.containers.need(container_id)
            if record.state in _ALIVE:
                await stop_container(self._daemon, record, _EVICTION_GRACE_S)
        except (CriError, OciError, OSError) as error:
            self._log.error("NRI: container %s could not be evicted: %s", container_id, error)

    # --- joining ------------------------------------------------------------------------------------------------------

    async def _join(self, plugin: Plugin) -> None:
        """Show it everything there is, and from that moment on tell it everything."""
        async with self._gate.alone(), self._adaptation.turn():
            sandboxes = [record for record in self._daemon.sandboxes if record.id in self._known]
            containers = [record for record in self._daemon.containers if record.id in self._known]
            described = await asyncio.to_thread(
                lambda: [views.container(record, self._specification(record)) for record in containers]
            )
            updates = await plugin.synchronize([views.pod(record) for record in sandboxes], described)
            if not plugin.connection.lost:
                self._adaptation.add(plugin)
        await self._try_to_carry_out(updates)

    # --- records as messages ------------------------------------------------------------------------------------------

    def _messages(self, record: ContainerRecord) -> tuple[nri.PodSandbox, nri.Container]:
        sandbox = self._daemon.sandboxes.get(record.sandbox_id)
        pod = nri.PodSandbox(id=record.sandbox_id) if sandbox is None else views.pod(sandbox)
        return pod, views.container(record, self._specification(record))

    def _specification(self, record: ContainerRecord) -> spec.Spec | None:
        """What the container was made from; None when its bundle is gone."""
        try:
            document = json.loads((self._daemon.paths.bundle(record.id) / "config.json").read_bytes())
            return spec.Spec.from_json(document)
        except (OSError, ValueError, OciError):
            return None
