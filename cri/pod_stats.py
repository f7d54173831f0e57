"""Statistics of a whole pod: its cgroup, its network interfaces, its containers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import SandboxRecord
from cri.stats import fill_memory, fill_pressure, read_cgroup
from oci.cgroups import CgroupStats

if TYPE_CHECKING:
    from cri.daemon import Daemon

DEFAULT_INTERFACE = "eth0"


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceCounters:
    """One line of /proc/net/dev (proc(5)): bytes, packets, errors and drops, received and sent."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def parse_net_dev(text: str) -> list[InterfaceCounters]:
    """The interfaces of a network namespace without its loopback."""
    interfaces = []
    for line in text.splitlines()[2:]:
        name, _, counters = line.partition(":")
        rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, *_ = (
            int(number) for number in counters.split()
        )
        if name.strip() != "lo":
            interfaces.append(
                InterfaceCounters(
                    name=name.strip(),
                    rx_bytes=rx_bytes,
                    rx_packets=rx_packets,
                    rx_errors=rx_errors,
                    rx_dropped=rx_dropped,
                    tx_bytes=tx_bytes,
                    tx_packets=tx_packets,
                    tx_errors=tx_errors,
                    tx_dropped=tx_dropped,
                )
            )
    return interfaces


def interfaces_of(record: SandboxRecord) -> list[InterfaceCounters]:
    """Of a pod with a network of its own, read through its shim, which lives in that network. Gone: none."""
    if record.host_network or record.state is not SandboxState.READY:
        return []
    try:
        with open(f"/proc/{record.shim_pid}/net/dev", encoding="ascii") as file:
            return parse_net_dev(file.read())
    except FileNotFoundError:
        return []


async def sandbox_stats(daemon: Daemon, record: SandboxRecord) -> api.PodSandboxStats:
    stats = api.PodSandboxStats(
        attributes=api.PodSandboxAttributes(
            id=record.id,
            metadata=record.config.metadata,
            labels=record.config.labels,
            annotations=record.config.annotations,
        )
    )
    linux = stats.linux
    sample, interfaces = await asyncio.to_thread(_read, daemon, record)
    now = sample.timestamp_ns if sample else daemon.now()
    linux.cpu.timestamp = linux.memory.timestamp = now
    if sample and sample.cpu:
        linux.cpu.usage_core_nano_seconds.value = sample.cpu.usage_ns
        linux.cpu.usage_nano_cores.value = daemon.statistics.rate(record.id, now, sample.cpu.usage_ns)
        if sample.cpu.pressure:
            fill_pressure(linux.cpu.psi, sample.cpu.pressure)
    if sample and sample.memory:
        fill_memory(linux.memory, sample.memory, now)
    if sample and sample.io and sample.io.pressure:
        linux.io.timestamp = now
        fill_pressure(linux.io.psi, sample.io.pressure)
    linux.process.timestamp = now
    linux.process.process_count.value = sample.pids.current if sample and sample.pids else 0
    _fill_network(linux.network, interfaces, now)
    running = [c for c in daemon.containers_of(record.id) if c.state is ContainerState.RUNNING]
    linux.containers.extend(await daemon.statistics.of(running))
    return stats


def _read(daemon: Daemon, record: SandboxRecord) -> tuple[CgroupStats | None, list[InterfaceCounters]]:
    return read_cgroup(daemon.cgroups, record.cgroup), interfaces_of(record)


def _fill_network(message: api.NetworkUsage, interfaces: list[InterfaceCounters], now: int) -> None:
    message.timestamp = now
    for counters in interfaces:
        usage = api.NetworkInterfaceUsage(name=counters.name)
        usage.rx_bytes.value, usage.rx_errors.value = counters.rx_bytes, counters.rx_errors
        usage.tx_bytes.value, usage.tx_errors.value = counters.tx_bytes, counters.tx_errors
        if counters.name == DEFAULT_INTERFACE:
            message.default_interface.CopyFrom(usage)
        else:
            message.interfaces.append(usage)
