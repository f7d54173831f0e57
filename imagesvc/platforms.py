"""Which entry of an index fits this machine. Pure but for `host_platform`, which reads /proc/cpuinfo."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MACHINES: Final = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
}
# What each level of the x86-64 psABI adds, as /proc/cpuinfo names it.
_AMD64_LEVELS: Final = (
    ("v2", {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}),
    ("v3", {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}),
    ("v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def host_platform() -> Platform:
    machine = platform.machine()
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    if architecture == "amd64":
        variant = amd64_level(Path("/proc/cpuinfo").read_text(errors="replace"))
    return Platform(os="linux", architecture=architecture, variant=variant)


def amd64_level(cpuinfo: str) -> str:
    flags: set[str] = set()
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            flags = set(line.partition(":")[2].split())
            break
    level = "v1"
    for name, needed in _AMD64_LEVELS:
        if not needed <= flags:
            break
        level = name
    return level


def variants(host: Platform) -> tuple[str, ...]:
    """Acceptable variants, best first; "" is what an entry without a variant has."""
    if host.architecture == "amd64":
        number = int(host.variant[1:] or 1) if host.variant else 1
        return (*(f"v{level}" for level in range(number, 1, -1)), "", "v1")
    if host.architecture == "arm64":
        return ("v8", "")
    if host.architecture == "arm":
        number = int(host.variant[1:] or 7) if host.variant else 7
        return (*(f"v{level}" for level in range(number, 4, -1)), "")
    return ("", host.variant) if host.variant else ("",)


def select(entries: Sequence[Platform | None], host: Platform) -> int | None:
    """Index of the best entry: best variant, then first. An entry without a platform fits if nothing else does."""
    order = variants(host)
    best: tuple[int, int] | None = None
    for index, entry in enumerate(entries):
        if entry is None:
            rank = len(order)
        elif entry.os == host.os and entry.architecture == host.architecture and entry.variant in order:
            rank = order.index(entry.variant)
        else:
            continue
        if best is None or rank < best[0]:
            best = rank, index
    return None if best is None else best[1]
