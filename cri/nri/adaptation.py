"""The plugins in service: who is asked, in which order, and what comes of it.

Plugins are called in the order of their indexes, one event after another and never two at once: plugins keep books of
the node's resources and are written for that. What a plugin adds to one answer, the next one sees. A plugin that does
not answer in time is dropped; so nobody waits longer than each plugin's request timeout.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from google.protobuf.message import Message

from cri.nri import events
from cri.nri.api import nri_pb2 as nri
from cri.nri.collected import Creation, Updates
from cri.nri.errors import PluginRefused
from cri.nri.events import Event
from cri.nri.plugin import Plugin
from cri.nri.resources import merge_resources

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


class Adaptation:
    def __init__(self) -> None:
        self._log = logging.getLogger("cri.nri")
        self._turn = asyncio.Lock()
        self.plugins: list[Plugin] = []

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """No event is under way but the caller's. All methods below want to be called inside one."""
        async with self._turn:
            yield

    @property
    def busy(self) -> bool:
        """Whether there is somebody to tell, or about to be."""
        return bool(self.plugins) or self._turn.locked()

    def add(self, plugin: Plugin) -> None:
        self.plugins = sorted([*self.plugins, plugin], key=lambda each: each.index)
        self._log.info("NRI plugins in service: %s", ", ".join(map(str, self.plugins)))

    def drop(self, plugin: Plugin) -> None:
        if plugin in self.plugins:
            self.plugins = [each for each in self.plugins if each is not plugin]
            self._log.info("NRI plugin %s is gone", plugin)

    async def ask(self, event: Event[Q, R], request: Q) -> None:
        """Raises PluginRefused of the first plugin that refuses; those after it are not asked."""
        for plugin in self.plugins:
            await plugin.put(event, request)

    async def tell(self, event: Event[Q, R], request: Q) -> None:
        """For what has happened or will, whatever plugins think of it."""
        for plugin in self.plugins:
            try:
                await plugin.put(event, request)
            except PluginRefused as error:
                self._log.warning("%s", error)

    # --- the events that plugins answer with wishes -------------------------------------------------------------------

    async def create_container(
        self, request: nri.CreateContainerRequest
    ) -> tuple[nri.ContainerAdjustment, list[nri.ContainerUpdate], list[nri.ContainerEviction]]:
        """All plugins' adjustments as one, checked by the validators. Raises PluginRefused."""
        pristine = nri.Container()
        pristine.CopyFrom(request.container)
        creation = Creation(request.container)
        evictions: list[nri.ContainerEviction] = []
        asked = list(self.plugins)
        for plugin in asked:
            response = await plugin.put(events.CREATE_CONTAINER, request)
            if response is not None:
                creation.take(response, str(plugin))
                evictions += response.evict
        await self._validate(
            nri.ValidateContainerAdjustmentRequest(
                pod=request.pod,
                container=pristine,
                adjust=creation.adjustment,
                update=creation.updates.by_container.values(),
                owners=creation.owners.message(),
                plugins=[nri.PluginInstance(name=plugin.name, index=plugin.index) for plugin in asked],
            )
        )
        return creation.adjustment, list(creation.updates.by_container.values()), evictions

    async def _validate(self, request: nri.ValidateContainerAdjustmentRequest) -> None:
        validators = [plugin for plugin in self.plugins if plugin.validates]
        verdicts = await asyncio.gather(
            *(plugin.put(events.VALIDATE_CONTAINER_ADJUSTMENT, request) for plugin in validators),
            return_exceptions=True,
        )
        for plugin, verdict in zip(validators, verdicts, strict=True):
            if isinstance(verdict, BaseException):
                raise verdict
            if verdict is None:
                raise PluginRefused(str(plugin), "went away instead of validating the adjustments")
            if verdict.reject:
                raise PluginRefused(str(plugin), f"rejects the adjustments: {verdict.reason or 'no reason given'}")

    async def update_container(
        self, request: nri.UpdateContainerRequest
    ) -> tuple[nri.LinuxResources, list[nri.ContainerUpdate], list[nri.ContainerEviction]]:
        """What to set in the end, and updates of other containers. Raises PluginRefused."""
        updates = Updates()
        evictions: list[nri.ContainerEviction] = []
        for plugin in list(self.plugins):
            response = await plugin.put(events.UPDATE_CONTAINER, request)
            if response is not None:
                updates.take(response.update, str(plugin))
                evictions += response.evict
                if own := updates.by_container.get(request.container.id):
                    merge_resources(request.linux_resources, own.linux.resources)
        updates.by_container.pop(request.container.id, None)
        return request.linux_resources, list(updates.by_container.values()), evictions

    async def stop_container(self, request: nri.StopContainerRequest) -> list[nri.ContainerUpdate]:
        """The container has stopped, and nobody can refuse that: what plugins want of others."""
        updates = Updates()
        for plugin in list(self.plugins):
            try:
                response = await plugin.put(events.STOP_CONTAINER, request)
                if response is not None:
                    updates.take(response.update, str(plugin))
            except PluginRefused as error:
                self._log.warning("%s", error)
        return list(updates.by_container.values())
