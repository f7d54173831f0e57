"""Processor time: of the whole machine less the driver's own, and of named processes.

Starting a pod runs processes that live for milliseconds in cgroups of their own (shims, runtimes, plugins), so their
cost shows only in the machine's total. Such figures are right when nothing else runs: measure on a quiet machine.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")


def machine_seconds(excluded: Iterable[int] = ()) -> float:
    """Busy seconds since boot, less this process and those in `excluded`."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _, _, irq, softirq = (int(word) for word in words[1:8])
    own = resource.getrusage(resource.RUSAGE_SELF)
    others = own.ru_utime + own.ru_stime + process_seconds(excluded)
    return (user + nice + system + irq + softirq) / _TICK - others


def process_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes themselves; one that has ended counts nothing."""
    return _seconds(pids, 11)


def children_seconds(pids: Iterable[int]) -> float:
    """Of their children that have ended and been waited for."""
    return _seconds(pids, 13)


def _seconds(pids: Iterable[int], field: int) -> float:
    """`field` and the one after it of /proc/PID/stat, counted from the state (proc(5): field 3)."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[field]) + int(fields[field + 1])) / _TICK
    return total


def memory(pids: Iterable[int]) -> tuple[float, float]:
    """PSS and private megabytes (10^6) of the processes together."""
    pss = private = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue
        sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
        pss += sizes["Pss:"]
        private += sizes["Private_Clean:"] + sizes["Private_Dirty:"]
    return pss * 1024 / 1e6, private * 1024 / 1e6
