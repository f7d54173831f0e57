"""Reads `CgroupStats` of a v2 cgroup: eleven opens with swap and pressure files, and of the long files only the lines
that are wanted.
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
    parse_io,
    parse_limit,
    parse_pressure,
    pick,
)


def read_stats(files: ControlFiles, directory: str) -> CgroupStats:
    timestamp_ns = time.time_ns()
    cpu_stat = files.read(f"{directory}/cpu.stat")  # there in every cgroup; its first read also tells that it exists
    usage, user, system, periods, throttled, throttled_us = pick(
        cpu_stat, (b"usage_usec", b"user_usec", b"system_usec", b"nr_periods", b"nr_throttled", b"throttled_usec")
    )
    cpu = CpuStats(
        usage_ns=usage * 1000,
        user_ns=user * 1000,
        system_ns=system * 1000,
        periods=periods,
        throttled_periods=throttled,
        throttled_ns=throttled_us * 1000,
        pressure=parse_pressure(files.read_if_there(f"{directory}/cpu.pressure")),
    )
    current = files.read_if_there(f"{directory}/memory.current")
    number = files.read_if_there(f"{directory}/pids.current")
    io = files.read_if_there(f"{directory}/io.stat")
    return CgroupStats(
        timestamp_ns=timestamp_ns,
        cpu=cpu,
        memory=None if current is None else _memory(files, directory, int(current)),
        pids=None if number is None else _pids(files, directory, int(number)),
        io=None if io is None else _io(files, directory, io),
    )


def _memory(files: ControlFiles, directory: str, usage: int) -> MemoryStats:
    inactive, anonymous, cache, faults, major = pick(
        files.read(f"{directory}/memory.stat"), (b"inactive_file", b"anon", b"file", b"pgfault", b"pgmajfault")
    )
    swap = files.read_if_there(f"{directory}/memory.swap.current")
    swap_limit = None if swap is None else files.read_if_there(f"{directory}/memory.swap.max")
    return MemoryStats(
        usage=usage,
        working_set=max(0, usage - inactive),
        rss=anonymous,
        cache=cache,
        page_faults=faults,
        major_page_faults=major,
        limit=parse_limit(files.read(f"{directory}/memory.max").strip()),
        swap_usage=None if swap is None else int(swap),
        swap_limit=None if swap_limit is None else parse_limit(swap_limit.strip()),
        pressure=parse_pressure(files.read_if_there(f"{directory}/memory.pressure")),
    )


def read_memory_details(files: ControlFiles, directory: str) -> MemoryDetails:
    """memory.peak is there from Linux 5.19 on."""
    kernel, mapped = pick(files.read(f"{directory}/memory.stat"), (b"kernel", b"file_mapped"))
    peak = files.read_if_there(f"{directory}/memory.peak") or files.read(f"{directory}/memory.current")
    (failures,) = pick(files.read(f"{directory}/memory.events"), (b"max",))
    return MemoryDetails(kernel=kernel, mapped_file=mapped, peak=int(peak), limit_failures=failures)


def _io(files: ControlFiles, directory: str, text: bytes) -> IoStats:
    pressure = parse_pressure(files.read_if_there(f"{directory}/io.pressure"))
    return IoStats(devices=tuple(parse_io(text)), pressure=pressure)


def _pids(files: ControlFiles, directory: str, current: int) -> PidsStats:
    return PidsStats(current=current, limit=parse_limit(files.read(f"{directory}/pids.max").strip()))
