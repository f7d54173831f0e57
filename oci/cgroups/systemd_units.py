"""What systemd calls things: unit names, slices' paths, and limits as unit properties. Pure.

A limit is mirrored from the very `Setting`s that are written to the control files, so the two cannot disagree: when
systemd writes its properties again (after daemon-reload, or when another property of the unit changes), nothing moves.
"""

from __future__ import annotations

import re

from oci.cgroups.limits import Setting
from oci.errors import CgroupError
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

#: (name, (signature, value)), as StartTransientUnit and SetUnitProperties take them.
Property = tuple[str, tuple[str, object]]

DEFAULT_SLICE: Final = "system.slice"
ROOT_SLICE: Final = "-.slice"
INFINITY: Final = (1 << 64) - 1
_NAME: Final = re.compile(r"[A-Za-z0-9:_.\\-]+", re.ASCII)
_LONGEST_NAME: Final = 255

_SIZES: Final = {
    "memory.min": "MemoryMin",
    "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "memory.zswap.max": "MemoryZSwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}
_SETS: Final = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_THROTTLES: Final = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}
# systemd keeps a quota in whole percents: what is finer is rounded up, never to less than was asked for.
_PERCENT_US: Final = 10_000


@frozen
class Scope:
    slice: str
    unit: str

    @property
    def path(self) -> str:
        """Below the manager's own cgroup."""
        return f"{slice_path(self.slice)}/{self.unit}"


def parse_scope(path: str) -> Scope:
    """ "slice:prefix:name" as OCI runtimes take it, or the path of a scope; what is left out is system.slice."""
    if ":" in path:
        slice_name, _, rest = path.lstrip("/").partition(":")
        unit = rest.removeprefix(":").replace(":", "-")
        return Scope(slice=check_slice(slice_name or DEFAULT_SLICE), unit=check_unit(_scope_name(unit)))
    above, _, name = path.rstrip("/").rpartition("/")
    parent = above.rpartition("/")[2]
    slice_name = parent if parent.endswith(".slice") else DEFAULT_SLICE
    return Scope(slice=check_slice(slice_name), unit=check_unit(_scope_name(name)))


def _scope_name(name: str) -> str:
    return name if name.endswith(".scope") else f"{name}.scope"


def check_unit(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME or name.startswith("."):
        raise CgroupError(name or "''", "is not the name of a systemd unit")
    return name


def check_slice(name: str) -> str:
    check_unit(name)
    stem = name.removesuffix(".slice")
    if name == ROOT_SLICE:
        return name
    if stem == name or not stem or stem.startswith("-") or stem.endswith("-") or "--" in stem:
        raise CgroupError(name, "is not the name of a slice")
    return name


def slice_path(name: str) -> str:
    """ "a-b.slice" lies in "a.slice": "/a.slice/a-b.slice"; the root slice is ""."""
    if check_slice(name) == ROOT_SLICE:
        return ""
    parts = name.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[:end])}.slice" for end in range(1, len(parts) + 1))


def properties(settings: Iterable[Setting], cpu_max: str) -> tuple[Property, ...]:
    """`cpu_max` is what cpu.max holds now that the settings are in force: they may have named a part of it only."""
    found: dict[str, tuple[str, object]] = {}
    devices: dict[str, list[tuple[str, int]]] = {}
    for setting in settings:
        file, value = setting.choices[-1]  # of io.bfq.weight and io.weight systemd knows the latter
        if file == "cpu.max":
            found.update(_quota(cpu_max or value))
        elif file == "cpu.idle":
            if value == "1":
                found["CPUWeight"] = ("t", 0)
        elif file in _SIZES:
            found[_SIZES[file]] = ("t", _size(value))
        elif file in _SETS:
            found[_SETS[file]] = ("ay", bitmap(value))
        elif file == "io.weight":
            _io_weight(value, found, devices)
        elif file == "io.max":
            _io_max(value, devices)
    return (*found.items(), *((name, ("a(st)", entries)) for name, entries in devices.items()))


def _quota(text: str) -> Iterator[tuple[str, tuple[str, object]]]:
    amount, _, period = text.partition(" ")
    period_us = int(period or 100_000)
    if amount == "max":
        yield "CPUQuotaPerSecUSec", ("t", INFINITY)
    else:
        a_second = -(-int(amount) * 1_000_000 // period_us)
        yield "CPUQuotaPerSecUSec", ("t", -(-a_second // _PERCENT_US) * _PERCENT_US)
    yield "CPUQuotaPeriodUSec", ("t", period_us)


def _io_weight(value: str, found: dict[str, tuple[str, object]], devices: dict[str, list[tuple[str, int]]]) -> None:
    first, _, weight = value.rpartition(" ")
    if first in ("", "default"):
        found["IOWeight"] = ("t", int(weight))
    else:
        devices.setdefault("IODeviceWeight", []).append((f"/dev/block/{first}", int(weight)))


def _io_max(value: str, devices: dict[str, list[tuple[str, int]]]) -> None:
    device, *limits = value.split()
    for limit in limits:
        key, _, amount = limit.partition("=")
        if key in _THROTTLES:
            devices.setdefault(_THROTTLES[key], []).append((f"/dev/block/{device}", _size(amount)))


def _size(text: str) -> int:
    return INFINITY if text == "max" else int(text)


def bitmap(text: str) -> bytes:
    """ "0-2,8" as systemd's bit set, least significant byte first."""
    bits = 0
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            bits |= 1 << number
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
