"""Statistics as the CRI shows them, from a container's cgroup and its writable layer.

Samples are taken when asked for, with a small age limit so that a client that asks for the same thing twice in a row
does not read the cgroup twice. The size of the writable layer, which needs a walk, is measured in the background.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord
from oci.cgroups import CgroupDriver, CgroupStats
from oci.cgroups.stats import MemoryStats, Pressure, Usage
from oci.errors import CgroupError

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


def fill_memory(message: api.MemoryUsage, memory: MemoryStats, now: int) -> None:
    message.timestamp = now
    message.working_set_bytes.value = memory.working_set
    message.usage_bytes.value = memory.usage
    message.rss_bytes.value = memory.rss
    message.page_faults.value = memory.page_faults
    message.major_page_faults.value = memory.major_page_faults
    if memory.pressure:
        fill_pressure(message.psi, memory.pressure)
    message.available_bytes.value = max(memory.limit - memory.working_set, 0) if memory.limit is not None else 0


def fill_pressure(message: api.PsiStats, pressure: Pressure) -> None:
    """Stall times are nanoseconds here and in the CRI; with a kernel without PSI the message stays out."""
    for part, stall in ((message.Some, pressure.some), (message.Full, pressure.full)):
        part.Total, part.Avg10, part.Avg60, part.Avg300 = stall.total_ns, stall.avg10, stall.avg60, stall.avg300


def fill_swap(message: api.SwapUsage, memory: MemoryStats, now: int) -> None:
    message.timestamp = now
    message.swap_usage_bytes.value = memory.swap_usage or 0
    message.swap_available_bytes.value = max((memory.swap_limit or 0) - (memory.swap_usage or 0), 0)


def read_cgroup(driver: CgroupDriver, path: str) -> CgroupStats | None:
    """None when it has gone meanwhile."""
    try:
        return driver.open(path).stats()
    except CgroupError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return None
        raise


def read_usage(driver: CgroupDriver, path: str) -> Usage | None:
    """None when it has gone meanwhile."""
    try:
        return driver.usage(path)
    except CgroupError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return None
        raise


class ContainerStatistics:
    """Remembers, per container, what never changes in its message, the last CPU sample and the last layer size."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._layers: dict[str, Layer] = {}
        self._samples: dict[str, tuple[int, int, int]] = {}  # timestamp, usage, rate
        self._attributes: dict[str, bytes] = {}  # a serialized ContainerStats with nothing but them
        self._walking = asyncio.Semaphore(1)  # the threads are everybody's, and so is the disk

    def forget(self, container_id: str) -> None:
        self._samples.pop(container_id, None)
        self._attributes.pop(container_id, None)
        layer = self._layers.pop(container_id, None)
        if layer and layer.task:
            layer.task.cancel()

    async def of(self, records: Sequence[ContainerRecord]) -> list[api.ContainerStats]:
        """Of each of them that is not removed meanwhile: the cgroups are read in a thread, many take their time."""
        samples = await asyncio.to_thread(self._read, records)
        mountpoint = self._daemon.images.usage().mountpoint
        return [
            self._message(record, sample, mountpoint)
            for record, sample in zip(records, samples, strict=True)
            if self._daemon.containers.get(record.id)
        ]

    def _read(self, records: Sequence[ContainerRecord]) -> list[Usage | None]:
        return [
            read_usage(self._daemon.cgroups, record.cgroup) if record.state is ContainerState.RUNNING else None
            for record in records
        ]

    def _message(self, record: ContainerRecord, sample: Usage | None, mountpoint: str) -> api.ContainerStats:
        known = self._attributes.get(record.id)
        if known is None:
            known = self._attributes[record.id] = _attributes(record)
        stats = api.ContainerStats.FromString(known)
        if sample is not None:
            self._fill(stats, record, sample)
        self._layer(stats.writable_layer, record, mountpoint)
        return stats

    def _fill(self, stats: api.ContainerStats, record: ContainerRecord, sample: Usage) -> None:
        now = sample.timestamp_ns
        if sample.cpu_ns is not None:
            cpu = stats.cpu
            cpu.timestamp = now
            cpu.usage_core_nano_seconds.value = sample.cpu_ns
            cpu.usage_nano_cores.value = self.rate(record.id, now, sample.cpu_ns)
        if sample.memory:
            fill_memory(stats.memory, sample.memory, now)
            fill_swap(stats.swap, sample.memory, now)
        if sample.cpu_pressure:
            fill_pressure(stats.cpu.psi, sample.cpu_pressure)
        if sample.io_pressure:
            stats.io.timestamp = now
            fill_pressure(stats.io.psi, sample.io_pressure)

    def rate(self, container_id: str, now: int, usage: int) -> int:
        """Nano-cores between this sample and the last one that is at least a tenth of a second older."""
        before = self._samples.get(container_id)
        if before is None:
            self._samples[container_id] = now, usage, 0
            return 0
        if now - before[0] < 100_000_000:
            return before[2]
        rate = max(usage - before[1], 0) * 1_000_000_000 // (now - before[0])
        self._samples[container_id] = now, usage, rate
        return rate

    def layer(self, record: ContainerRecord) -> Layer:
        """The writable layer as it was last measured."""
        return self._layers.setdefault(record.id, Layer())

    def _layer(self, message: api.FilesystemUsage, record: ContainerRecord, mountpoint: str) -> None:
        layer = self.layer(record)
        if layer.task is None and (not layer.measured or time.monotonic() - layer.measured > LAYER_INTERVAL_S):
            layer.task = asyncio.ensure_future(self._measure(layer, record.id))
        message.timestamp = layer.timestamp or self._daemon.now()
        message.fs_id.mountpoint = mountpoint
        message.used_bytes.value = layer.used_bytes
        message.inodes_used.value = layer.inodes_used

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
