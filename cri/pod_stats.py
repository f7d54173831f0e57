"""Statistics of a whole pod: its cgroup, its network interfaces, its containers."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord
from cri.stats_messages import MemoryFigures, fill_pressure
from oci import syscalls
from oci.cgroups.usage import Usage
from oci.values import frozen

if TYPE_CHECKING:
    from cri.daemon import Daemon

DEFAULT_INTERFACE = "eth0"


@frozen
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


#: What was read of one pod: its cgroup, None when that has gone, and its interfaces.
PodReading = tuple[Usage | None, list[InterfaceCounters]]


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


def interfaces_of(records: Iterable[SandboxRecord]) -> dict[str, list[InterfaceCounters]]:
    """By sandbox, of the ready pods that have a network of their own; one that ends meanwhile is left out.

    Blocks: for a thread. It starts another, which goes from namespace to namespace and never has to come back.
    """
    wanted = [record for record in records if not record.host_network and record.state is SandboxState.READY]
    found: dict[str, list[InterfaceCounters]] = {}
    failures: list[OSError] = []

    def visit() -> None:
        try:
            for record in wanted:
                if (text := _net_dev(record.netns)) is not None:
                    found[record.id] = parse_net_dev(text)
        except OSError as error:
            failures.append(error)

    if wanted:
        visitor = threading.Thread(target=visit, name="pod-networks", daemon=True)
        visitor.start()
        visitor.join()
    for failure in failures:
        raise failure
    return found


def _net_dev(netns: str) -> str | None:
    """Leaves the calling thread in that namespace. None for one that is gone."""
    try:
        fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with syscalls.closing(fd):
        try:
            syscalls.setns(fd, syscalls.CLONE_NEWNET)
        except OSError as error:
            if error.errno == errno.EINVAL:  # the name is there still, the namespace has been unbound from it
                return None
            raise
    with open("/proc/thread-self/net/dev", encoding="ascii") as file:
        return file.read()


async def sandbox_stats(daemon: Daemon, records: Sequence[SandboxRecord]) -> list[api.PodSandboxStats]:
    """Of each pod, with its running containers; the cgroups are read in a thread, all in a row."""
    running = {
        record.id: [c for c in daemon.containers_of(record.id) if c.state is ContainerState.RUNNING]
        for record in records
    }
    containers = list(chain.from_iterable(running.values()))
    readings, samples = await asyncio.to_thread(_read, daemon, records, containers)
    return [
        _message(daemon, record, reading, daemon.statistics.messages(running[record.id], samples))
        for record, reading in zip(records, readings, strict=True)
    ]


def _read(
    daemon: Daemon, pods: Sequence[SandboxRecord], containers: Sequence[ContainerRecord]
) -> tuple[list[PodReading], dict[str, Usage | None]]:
    readers = daemon.statistics.readers
    own = readers.read([(record.id, record.cgroup) for record in pods], pids=True)
    interfaces = interfaces_of(pods)
    inner = readers.read([(record.id, record.cgroup) for record in containers])
    return (
        [(sample, interfaces.get(record.id, [])) for record, sample in zip(pods, own, strict=True)],
        {record.id: sample for record, sample in zip(containers, inner, strict=True)},
    )


def _message(
    daemon: Daemon, record: SandboxRecord, reading: PodReading, containers: Sequence[bytes]
) -> api.PodSandboxStats:
    stats = api.PodSandboxStats(
        attributes=api.PodSandboxAttributes(
            id=record.id,
            metadata=record.config.metadata,
            labels=record.config.labels,
            annotations=record.config.annotations,
        )
    )
    linux = stats.linux
    sample, interfaces = reading
    now = sample.timestamp_ns if sample else daemon.now()
    linux.cpu.timestamp = linux.memory.timestamp = linux.process.timestamp = now
    if sample:
        _fill_usage(daemon, linux, record, sample)
    linux.process.process_count.value = (sample.processes if sample else None) or 0
    _fill_network(linux.network, interfaces, now)
    for container in containers:
        linux.containers.add().MergeFromString(container)
    if record.id not in daemon.pods:
        daemon.statistics.forget(record.id)  # its cgroup may have been opened after it was forgotten
    return stats


def _fill_usage(daemon: Daemon, linux: api.LinuxPodSandboxStats, record: SandboxRecord, sample: Usage) -> None:
    now = sample.timestamp_ns
    if sample.cpu_ns is not None:
        linux.cpu.usage_core_nano_seconds.value = sample.cpu_ns
        linux.cpu.usage_nano_cores.value = daemon.statistics.rate(record.id, now, sample.cpu_ns)
    if sample.cpu_pressure:
        fill_pressure(linux.cpu.psi, sample.cpu_pressure)
    if sample.memory:
        MemoryFigures(linux.memory).fill(sample.memory, now)
    if sample.io_pressure:
        linux.io.timestamp = now
        fill_pressure(linux.io.psi, sample.io_pressure)


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
