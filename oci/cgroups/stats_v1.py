"""Reads `CgroupStats` of a v1 cgroup. Cheap on purpose, since the kubelet asks for every container every ten seconds:
ten opens, and of the long files only the lines that are wanted.
"""

from __future__ import annotations

import time

from oci.cgroups.files import ControlFiles
from oci.cgroups.stats import (
    CgroupStats,
    CpuStats,
    IoStats,
    MemoryDetails,
    MemoryStats,
    PidsStats,
    device_io,
    parse_blkio,
    parse_limit,
    pick,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

# v1 shows "no limit" as the largest multiple of the page size below 2^63.
_V1_UNLIMITED: Final = 1 << 62


def read_stats(files: ControlFiles, directories: Mapping[str, str]) -> CgroupStats:
    """`directories` maps a controller to the cgroup's directory in its hierarchy."""
    timestamp_ns = time.time_ns()
    cpu = directories.get("cpu")
    accounting = directories.get("cpuacct")
    memory = directories.get("memory")
    pids = directories.get("pids")
    io = directories.get("blkio")
    return CgroupStats(
        timestamp_ns=timestamp_ns,
        cpu=None if accounting is None else _cpu(files, accounting, cpu),
        memory=None if memory is None else _memory(files, memory),
        pids=None if pids is None else _pids(files, pids),
        io=None if io is None else _io(files, io),
    )


def _cpu(files: ControlFiles, accounting: str, cpu: str | None) -> CpuStats:
    throttling = b"" if cpu is None else files.read(f"{cpu}/cpu.stat")
    periods, throttled, throttled_ns = pick(throttling, (b"nr_periods", b"nr_throttled", b"throttled_time"))
    user = int(files.read(f"{accounting}/cpuacct.usage_user"))
    system = int(files.read(f"{accounting}/cpuacct.usage_sys"))
    return CpuStats(
        usage_ns=user + system,
        user_ns=user,
        system_ns=system,
        periods=periods,
        throttled_periods=throttled,
        throttled_ns=throttled_ns,
    )


def _memory(files: ControlFiles, directory: str) -> MemoryStats:
    usage = int(files.read(f"{directory}/memory.usage_in_bytes"))
    text = files.read(f"{directory}/memory.stat")
    inactive, rss, cache, faults, major, swap, limit, limit_with_swap = pick(
        text,
        (
            b"total_inactive_file", b"total_rss", b"total_cache", b"total_pgfault", b"total_pgmajfault", b"total_swap",
            b"hierarchical_memory_limit", b"hierarchical_memsw_limit",
        ),
    )  # fmt: skip
    swap_counted = b"hierarchical_memsw_limit" in text
    swap_limited = swap_counted and limit_with_swap < _V1_UNLIMITED
    return MemoryStats(
        usage=usage,
        working_set=max(0, usage - inactive),
        rss=rss,
        cache=cache,
        page_faults=faults,
        major_page_faults=major,
        limit=limit if limit < _V1_UNLIMITED else None,
        swap_usage=swap if swap_counted else None,
        swap_limit=max(0, limit_with_swap - limit) if swap_limited else None,
    )


def read_memory_details(files: ControlFiles, directory: str) -> MemoryDetails:
    (mapped,) = pick(files.read(f"{directory}/memory.stat"), (b"total_mapped_file",))
    return MemoryDetails(
        kernel=int(files.read_if_there(f"{directory}/memory.kmem.usage_in_bytes") or 0),
        mapped_file=mapped,
        peak=int(files.read(f"{directory}/memory.max_usage_in_bytes")),
        limit_failures=int(files.read(f"{directory}/memory.failcnt")),
    )


def _pids(files: ControlFiles, directory: str) -> PidsStats:
    limit = files.read(f"{directory}/pids.max").strip()
    return PidsStats(current=int(files.read(f"{directory}/pids.current")), limit=parse_limit(limit))


def _io(files: ControlFiles, directory: str) -> IoStats:
    sizes = parse_blkio(files.read_if_there(f"{directory}/blkio.throttle.io_service_bytes_recursive") or b"")
    counts = parse_blkio(files.read_if_there(f"{directory}/blkio.throttle.io_serviced_recursive") or b"")
    devices = []
    for major, minor in sizes | counts:
        read_bytes, write_bytes = sizes.get((major, minor), (0, 0))
        reads, writes = counts.get((major, minor), (0, 0))
        devices.append(device_io(major, minor, read_bytes, write_bytes, reads, writes))
    return IoStats(devices=tuple(devices))
