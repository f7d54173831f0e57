"""Statistics as the CRI shows them, from a container's cgroup and its writable layer.

Cgroups are read when asked for. The size of the writable layer, which needs a walk, is measured in the background.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord
from cri.stats_messages import ContainerFigures, parts_of
from cri.usage import UsageReaders
from oci.cgroups.usage import Usage

if TYPE_CHECKING:
    from cri.daemon import Daemon

LAYER_INTERVAL_S = 30.0


@dataclass(slots=True)
class Layer:
    used_bytes: int = 0
    inodes_used: int = 0
    timestamp: int = 0
    measured: float = 0.0
    task: asyncio.Task[None] | None = None


class ContainerStatistics:
    """Remembers, per container, what never changes in its message, the last CPU sample and the last layer size."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.readers = UsageReaders(daemon.cgroups)
        self._layers: dict[str, Layer] = {}
        self._samples: dict[str, tuple[int, int, int]] = {}  # timestamp, usage, rate
        self._attributes: dict[str, bytes] = {}  # a serialized ContainerStats with nothing but them
        self._walking = asyncio.Semaphore(1)  # the threads are everybody's, and so is the disk

    def forget(self, owner: str) -> None:
        """A container or a pod is gone."""
        self.readers.forget(owner)
        self._samples.pop(owner, None)
        self._attributes.pop(owner, None)
        layer = self._layers.pop(owner, None)
        if layer and layer.task:
            layer.task.cancel()

    def close(self) -> None:
        self.readers.close()

    async def of(self, records: Sequence[ContainerRecord]) -> list[bytes]:
        """A serialized ContainerStats of each that is not removed meanwhile; read in a thread, many take their time."""
        running = [record for record in records if record.state is ContainerState.RUNNING]
        wanted = [(record.id, record.cgroup) for record in running]
        samples = await asyncio.to_thread(self.readers.read, wanted)
        return self.messages(records, {record.id: sample for record, sample in zip(running, samples, strict=True)})

    def messages(self, records: Sequence[ContainerRecord], samples: dict[str, Usage | None]) -> list[bytes]:
        mountpoint = self._daemon.images.usage().mountpoint
        now = time.monotonic()
        figures = ContainerFigures(None, mountpoint)
        found = []
        for record in records:
            if self._daemon.containers.get(record.id) is None:
                self.readers.forget(record.id)  # its cgroup may have been opened after it was forgotten
                continue
            sample = samples.get(record.id)
            if parts_of(sample) != figures.parts:
                figures = ContainerFigures(sample, mountpoint)
            rate = 0
            if sample is not None and sample.cpu_ns is not None:
                rate = self.rate(record.id, sample.timestamp_ns, sample.cpu_ns)
            layer = self._measured_layer(record, now)
            known = self._attributes.get(record.id) or self._remember(record)
            size = (layer.timestamp or self._daemon.now(), layer.used_bytes, layer.inodes_used)
            found.append(known + figures.serialized(sample, rate, size))
        return found

    def _remember(self, record: ContainerRecord) -> bytes:
        known = self._attributes[record.id] = _attributes(record)
        return known

    def rate(self, owner: str, now: int, usage: int) -> int:
        """Nano-cores between this sample and the last one that is at least a tenth of a second older."""
        before = self._samples.get(owner)
        if before is None:
            self._samples[owner] = now, usage, 0
            return 0
        if now - before[0] < 100_000_000:
            return before[2]
        rate = max(usage - before[1], 0) * 1_000_000_000 // (now - before[0])
        self._samples[owner] = now, usage, rate
        return rate

    def layer(self, record: ContainerRecord) -> Layer:
        """The writable layer as it was last measured."""
        return self._layers.setdefault(record.id, Layer())

    def _measured_layer(self, record: ContainerRecord, now: float) -> Layer:
        """The same; measured again, in the background, when that was long ago."""
        layer = self._layers.get(record.id) or self.layer(record)
        if layer.task is None and (not layer.measured or now - layer.measured > LAYER_INTERVAL_S):
            layer.task = asyncio.ensure_future(self._measure(layer, record.id))
        return layer

    async def _measure(self, layer: Layer, container_id: str) -> None:
        try:
            async with self._walking:
                usage = await self._daemon.images.container_usage(self._daemon.paths.container(container_id))
            layer.used_bytes, layer.inodes_used = usage.used_bytes, usage.inodes_used
            layer.timestamp = self._daemon.now()
        except OSError as error:
            self._daemon.log.warning("the writable layer of container %s was not measured: %s", container_id, error)
        finally:
            layer.measured = time.monotonic()
            layer.task = None


def _attributes(record: ContainerRecord) -> bytes:
    config = record.config
    attributes = api.ContainerAttributes(
        id=record.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
    )
    return api.ContainerStats(attributes=attributes).SerializeToString()
