"""Figures of cgroups as the CRI's messages. Pure; made for a thousand containers in a row.

A container's message is built in one that is used again for each (`ContainerFigures`): what is known of the container
itself is serialized once, and the two parts put one after the other are one message.
"""

from __future__ import annotations

from cri.api import runtime_pb2 as api
from oci.cgroups.stats import Pressure
from oci.cgroups.usage import MemoryUsage, Usage


class ContainerFigures:
    """A ContainerStats without its attributes, for samples that have the same parts as `like` has."""

    def __init__(self, like: Usage | None, mountpoint: str) -> None:
        message = self._message = api.ContainerStats()
        self._layer = message.writable_layer
        self._layer_bytes, self._layer_inodes = self._layer.used_bytes, self._layer.inodes_used
        self._layer.fs_id.mountpoint = mountpoint
        self._cpu = message.cpu
        self._cpu_usage, self._cpu_rate = self._cpu.usage_core_nano_seconds, self._cpu.usage_nano_cores
        self._memory = MemoryFigures(message.memory)
        self._swap = message.swap
        self._swap_usage, self._swap_available = self._swap.swap_usage_bytes, self._swap.swap_available_bytes
        self._io = message.io
        self.parts = parts_of(like)

    def serialized(self, sample: Usage | None, rate: int, layer: tuple[int, int, int]) -> bytes:
        """`layer` is the time of its measurement, its bytes and its inodes."""
        self._layer.timestamp, self._layer_bytes.value, self._layer_inodes.value = layer
        if sample is None:
            return self._message.SerializeToString()
        now = sample.timestamp_ns
        if sample.cpu_ns is not None:
            self._cpu.timestamp = now
            self._cpu_usage.value = sample.cpu_ns
            self._cpu_rate.value = rate
        if memory := sample.memory:
            self._memory.fill(memory, now)
            self._swap.timestamp = now
            used = memory.swap_usage or 0
            self._swap_usage.value = used
            self._swap_available.value = max((memory.swap_limit or 0) - used, 0)
        if sample.cpu_pressure:
            fill_pressure(self._cpu.psi, sample.cpu_pressure)
        if sample.io_pressure:
            self._io.timestamp = now
            fill_pressure(self._io.psi, sample.io_pressure)
        return self._message.SerializeToString()


def parts_of(sample: Usage | None) -> tuple[bool, ...]:
    """Which parts of the message a sample fills."""
    if sample is None:
        return ()
    memory = sample.memory
    return (
        sample.cpu_ns is not None,
        memory is not None,
        memory is not None and memory.pressure is not None,
        sample.cpu_pressure is not None,
        sample.io_pressure is not None,
    )


class MemoryFigures:
    def __init__(self, message: api.MemoryUsage) -> None:
        self._message = message
        self._values = (
            message.usage_bytes,
            message.working_set_bytes,
            message.rss_bytes,
            message.page_faults,
            message.major_page_faults,
            message.available_bytes,
        )

    def fill(self, memory: MemoryUsage, now: int) -> None:
        self._message.timestamp = now
        usage, working_set, rss, faults, major, available = self._values
        usage.value, working_set.value, rss.value = memory.usage, memory.working_set, memory.rss
        faults.value, major.value = memory.page_faults, memory.major_page_faults
        available.value = memory.available or 0
        if memory.pressure:
            fill_pressure(self._message.psi, memory.pressure)


def fill_pressure(message: api.PsiStats, pressure: Pressure) -> None:
    """Stall times are nanoseconds here and in the CRI; with a kernel without PSI the message stays out."""
    for part, stall in ((message.Some, pressure.some), (message.Full, pressure.full)):
        part.Total, part.Avg10, part.Avg60, part.Avg300 = stall.total_ns, stall.avg10, stall.avg60, stall.avg300
