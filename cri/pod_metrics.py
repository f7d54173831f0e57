"""Metrics of pods and containers under cAdvisor's names (ListMetricDescriptors, ListPodSandboxMetrics).

With them the kubelet fills /metrics/cadvisor without cAdvisor (gate PodAndContainerStatsFromCRI). A family says its
name, help text and labels once, and how its samples come from what was read of the cgroup: a family that a host cannot
fill (no PSI, no huge pages) is not described either, since the kubelet reads the descriptions once and expects values.

Values are whole numbers in the CRI, also those of seconds. Every sample carries the six labels that cAdvisor's have:
id (the cgroup), name (the container's id), image, namespace, pod, container; "POD" is the pod's own network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from cri.api import runtime_pb2 as api
from cri.pod_stats import InterfaceCounters
from oci.cgroups.stats import CgroupStats, MemoryDetails, Pressure
from oci.values import frozen

LABELS = ("id", "name", "image", "namespace", "pod", "container")
_SECOND = 1_000_000_000

#: Values of a family's own labels, and the number.
Sample = tuple[tuple[str, ...], int]


@frozen
class Processes:
    """What /proc tells of a container's processes; zero of a process that went away meanwhile."""

    processes: int = 0
    threads: int = 0
    descriptors: int = 0
    sockets: int = 0
    open_files_limit: int = 0


@frozen
class Reading:
    """Everything that was read of one container, at one moment."""

    cgroup: CgroupStats
    memory: MemoryDetails | None
    processes: Processes
    resources: api.LinuxContainerResources
    oom_kills: int
    started_at: int
    layer_bytes: int
    layer_inodes: int
    disk: os.statvfs_result


@frozen
class Family:
    name: str
    help: str
    kind: api.MetricType.ValueType
    labels: tuple[str, ...] = ()
    samples: Callable[[Reading], Iterable[Sample]] = lambda reading: ()

    def descriptor(self) -> api.MetricDescriptor:
        return api.MetricDescriptor(name=self.name, help=self.help, label_keys=[*LABELS, *self.labels])

    def metrics(self, common: tuple[str, ...], samples: Iterable[Sample], timestamp: int) -> Iterable[api.Metric]:
        for values, number in samples:
            metric = api.Metric(
                name=self.name, timestamp=timestamp, metric_type=self.kind, label_values=[*common, *values]
            )
            metric.value.value = max(0, number)
            yield metric


def _counter(
    name: str, help: str, samples: Callable[[Reading], Iterable[Sample]], labels: tuple[str, ...] = ()
) -> Family:
    return Family(name=name, help=help, kind=api.COUNTER, labels=labels, samples=samples)


def _gauge(
    name: str, help: str, samples: Callable[[Reading], Iterable[Sample]], labels: tuple[str, ...] = ()
) -> Family:
    return Family(name=name, help=help, kind=api.GAUGE, labels=labels, samples=samples)


def _one(number: Callable[[Reading], int | None]) -> Callable[[Reading], Iterable[Sample]]:
    """A family with one sample; none where the number cannot be had."""

    def samples(reading: Reading) -> Iterable[Sample]:
        value = number(reading)
        return () if value is None else [((), value)]

    return samples


def _part(section: str, name: str) -> Callable[[Reading], int | None]:
    """A number of `reading.cgroup.<section>`; None without that controller."""

    def number(reading: Reading) -> int | None:
        found = getattr(reading.cgroup, section)
        return None if found is None else int(getattr(found, name) or 0)

    return number


def _cpu(name: str) -> Callable[[Reading], int | None]:
    return _part("cpu", name)


def _memory(name: str) -> Callable[[Reading], int | None]:
    return _part("memory", name)


def _details(name: str) -> Callable[[Reading], int | None]:
    return lambda reading: None if reading.memory is None else int(getattr(reading.memory, name))


def _seconds(number: Callable[[Reading], int | None]) -> Callable[[Reading], int | None]:
    def whole(reading: Reading) -> int | None:
        value = number(reading)
        return None if value is None else value // _SECOND

    return whole


def _devices(read: str, write: str) -> Callable[[Reading], Iterable[Sample]]:
    def samples(reading: Reading) -> Iterable[Sample]:
        for device in reading.cgroup.io.devices if reading.cgroup.io else ():
            numbers = (str(device.major), str(device.minor))
            for operation, part in (("Read", read), ("Write", write)):
                yield (f"{numbers[0]}:{numbers[1]}", *numbers, operation), getattr(device, part)

    return samples


def _device_sums(part: str) -> Callable[[Reading], Iterable[Sample]]:
    return lambda reading: (
        ((f"{device.major}:{device.minor}",), getattr(device, part))
        for device in (reading.cgroup.io.devices if reading.cgroup.io else ())
    )


def _pressure(controller: str, part: str) -> Callable[[Reading], int | None]:
    def seconds(reading: Reading) -> int | None:
        stats = getattr(reading.cgroup, controller)
        pressure: Pressure | None = stats.pressure if stats else None
        return getattr(pressure, part).total_ns // _SECOND if pressure else None

    return seconds


def _on_disk(number: Callable[[Reading], int]) -> Callable[[Reading], Iterable[Sample]]:
    return lambda reading: [(("/",), number(reading))]


CONTAINER_FAMILIES: tuple[Family, ...] = (
    _counter("container_cpu_usage_seconds_total", "CPU time used.", lambda r: (
        [(("total",), r.cgroup.cpu.usage_ns // _SECOND)] if r.cgroup.cpu else ()), ("cpu",)),
    _counter("container_cpu_user_seconds_total", "CPU time used in user mode.", _one(_seconds(_cpu("user_ns")))),
    _counter("container_cpu_system_seconds_total", "CPU time used in the kernel.", _one(_seconds(_cpu("system_ns")))),
    _counter("container_cpu_cfs_periods_total", "Periods of the CPU quota that have passed.", _one(_cpu("periods"))),
    _counter("container_cpu_cfs_throttled_periods_total", "Periods in which the quota was used up.",
             _one(_cpu("throttled_periods"))),
    _counter("container_cpu_cfs_throttled_seconds_total", "Time spent waiting for quota.",
             _one(_seconds(_cpu("throttled_ns")))),
    _gauge("container_memory_usage_bytes", "Memory in use, caches included.", _one(_memory("usage"))),
    _gauge("container_memory_working_set_bytes", "Memory in use without inactive file pages.",
           _one(_memory("working_set"))),
    _gauge("container_memory_rss", "Anonymous memory.", _one(_memory("rss"))),
    _gauge("container_memory_cache", "Page cache.", _one(_memory("cache"))),
    _gauge("container_memory_swap", "Swap in use.", _one(_memory("swap_usage"))),
    _gauge("container_memory_kernel_usage", "Memory that the kernel uses for it.", _one(_details("kernel"))),
    _gauge("container_memory_mapped_file", "File pages that are mapped.", _one(_details("mapped_file"))),
    _gauge("container_memory_max_usage_bytes", "Highest memory use so far.", _one(_details("peak"))),
    _counter("container_memory_failcnt", "Times that the memory limit was hit.", _one(_details("limit_failures"))),
    _counter("container_memory_failures_total", "Page faults.", lambda r: [] if not r.cgroup.memory else [
        (("pgfault", "container"), r.cgroup.memory.page_faults),
        (("pgmajfault", "container"), r.cgroup.memory.major_page_faults),
    ], ("failure_type", "scope")),
    _counter("container_oom_events_total", "Processes killed for want of memory.", _one(lambda r: r.oom_kills)),
    _counter("container_blkio_device_usage_total", "Bytes read from and written to a device.",
             _devices("read_bytes", "write_bytes"), ("device", "major", "minor", "operation")),
    _counter("container_fs_reads_bytes_total", "Bytes read.", _device_sums("read_bytes"), ("device",)),
    _counter("container_fs_writes_bytes_total", "Bytes written.", _device_sums("write_bytes"), ("device",)),
    _counter("container_fs_reads_total", "Reads completed.", _device_sums("read_operations"), ("device",)),
    _counter("container_fs_writes_total", "Writes completed.", _device_sums("write_operations"), ("device",)),
    _gauge("container_fs_usage_bytes", "Size of the writable layer.", _on_disk(lambda r: r.layer_bytes), ("device",)),
    _gauge("container_fs_limit_bytes", "Size of the file system below the writable layer.",
           _on_disk(lambda r: r.disk.f_blocks * r.disk.f_frsize), ("device",)),
    _gauge("container_fs_inodes_total", "Inodes of that file system.", _on_disk(lambda r: r.disk.f_files), ("device",)),
    _gauge("container_fs_inodes_free", "Inodes of that file system that are free.",
           _on_disk(lambda r: r.disk.f_favail), ("device",)),
    _gauge("container_processes", "Processes.", _one(lambda r: r.processes.processes)),
    _gauge("container_threads", "Threads.", _one(lambda r: r.processes.threads)),
    _gauge("container_threads_max", "Most threads allowed; 0 is no limit.",
           _one(lambda r: (r.cgroup.pids.limit or 0) if r.cgroup.pids else 0)),
    _gauge("container_file_descriptors", "Open file descriptors.", _one(lambda r: r.processes.descriptors)),
    _gauge("container_sockets", "Open sockets.", _one(lambda r: r.processes.sockets)),
    _gauge("container_ulimits_soft", "Soft limits of the first process.",
           lambda r: [(("max_open_files",), r.processes.open_files_limit)], ("ulimit",)),
    _gauge("container_spec_cpu_period", "Period of the CPU quota, in µs.",
           _one(lambda r: r.resources.cpu_period or 100_000)),
    _gauge("container_spec_cpu_shares", "CPU shares.", _one(lambda r: r.resources.cpu_shares or 1024)),
    _gauge("container_spec_memory_limit_bytes", "Memory limit; 0 is none.",
           _one(lambda r: r.resources.memory_limit_in_bytes)),
    _gauge("container_spec_memory_swap_limit_bytes", "Limit of memory and swap; 0 is none.",
           _one(lambda r: max(0, r.resources.memory_swap_limit_in_bytes))),
    _gauge("container_start_time_seconds", "When it was started, since the epoch.",
           _one(lambda r: r.started_at // _SECOND)),
    _gauge("container_last_seen", "When it was last seen, since the epoch.",
           _one(lambda r: r.cgroup.timestamp_ns // _SECOND)),
)  # fmt: skip

#: Only where the kernel has PSI; otherwise there would be descriptions without values.
PRESSURE_FAMILIES: tuple[Family, ...] = tuple(
    _counter(
        f"container_pressure_{controller}_{word}_seconds_total",
        f"Time in which {who} waited for {controller}.",
        _one(_pressure(field, part)),
    )
    for controller, field in (("cpu", "cpu"), ("memory", "memory"), ("io", "io"))
    for word, part, who in (("waiting", "some", "some task"), ("stalled", "full", "every task"))
)


def network_family(name: str, part: str, help: str) -> tuple[Family, Callable[[InterfaceCounters], int]]:
    family = Family(name=f"container_network_{name}_total", help=help, kind=api.COUNTER, labels=("interface",))
    return family, lambda counters: int(getattr(counters, part))


NETWORK_FAMILIES = tuple(
    network_family(f"{direction}_{word}", f"{prefix}_{part}", f"{text} {verb}.")
    for direction, prefix, verb in (("receive", "rx", "received"), ("transmit", "tx", "sent"))
    for word, part, text in (
        ("bytes", "bytes", "Bytes"),
        ("packets", "packets", "Packets"),
        ("packets_dropped", "dropped", "Packets dropped while being"),
        ("errors", "errors", "Errors of what was"),
    )
)
