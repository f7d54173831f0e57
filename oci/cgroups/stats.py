"""What a cgroup has used: values, and the parsers of the files that tell it. Pure.

A part whose controller is not there is None. Times in nanoseconds, sizes in bytes; a limit that is not set is None.
"""

from __future__ import annotations

from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


@frozen
class Stall:
    """One line of a pressure file: averages in percent, and the total since the cgroup was made."""

    avg10: float
    avg60: float
    avg300: float
    total_ns: int


@frozen
class Pressure:
    some: Stall
    full: Stall


@frozen
class CpuStats:
    usage_ns: int
    user_ns: int
    system_ns: int
    periods: int
    throttled_periods: int
    throttled_ns: int
    pressure: Pressure | None = None


@frozen
class MemoryStats:
    """`working_set` is usage without inactive file pages; `rss` is anonymous memory; `limit` is of memory alone."""

    usage: int
    working_set: int
    rss: int
    cache: int
    page_faults: int
    major_page_faults: int
    limit: int | None
    swap_usage: int | None
    swap_limit: int | None
    pressure: Pressure | None = None


@frozen
class MemoryDetails:
    """What only monitoring asks for: the kernel's own share, mapped file pages, the peak, refusals at the limit."""

    kernel: int
    mapped_file: int
    peak: int
    limit_failures: int


@frozen
class PidsStats:
    current: int
    limit: int | None


@frozen
class DeviceIo:
    major: int
    minor: int
    read_bytes: int
    write_bytes: int
    read_operations: int
    write_operations: int


@frozen
class IoStats:
    devices: tuple[DeviceIo, ...]
    pressure: Pressure | None = None


@frozen
class CgroupStats:
    """`timestamp_ns` is the time since the epoch at which reading began."""

    timestamp_ns: int
    cpu: CpuStats | None
    memory: MemoryStats | None
    pids: PidsStats | None
    io: IoStats | None


def parse_limit(text: bytes) -> int | None:
    return None if text == b"max" else int(text)


def pick(text: bytes, keys: Iterable[bytes]) -> list[int]:
    """Values of a "key value" file for `keys`, 0 for those that are not there."""
    found = b"\n" + text
    values = []
    for key in keys:
        start = found.find(b"\n" + key + b" ")
        if start < 0:
            values.append(0)
            continue
        start += len(key) + 2
        end = found.find(b"\n", start)
        values.append(int(found[start : end if end >= 0 else None]))
    return values


def parse_pressure(text: bytes | None) -> Pressure | None:
    """A pressure file (Documentation/accounting/psi.rst); cpu.pressure of Linux < 5.13 has no "full" line."""
    stalls = {}
    for line in (text or b"").splitlines():
        kind, _, rest = line.decode("ascii", "replace").partition(" ")
        pairs = dict(word.partition("=")[::2] for word in rest.split())
        try:
            stalls[kind] = Stall(
                avg10=float(pairs["avg10"]),
                avg60=float(pairs["avg60"]),
                avg300=float(pairs["avg300"]),
                total_ns=int(pairs["total"]) * 1000,
            )
        except (KeyError, ValueError):  # a line of a later kernel
            continue
    if "some" not in stalls:
        return None
    nothing = Stall(avg10=0.0, avg60=0.0, avg300=0.0, total_ns=0)
    return Pressure(some=stalls["some"], full=stalls.get("full", nothing))


def parse_blkio(text: bytes) -> dict[tuple[int, int], tuple[int, int]]:
    """(reads, writes) by device, of lines like "8:0 Read 4096"; sums of operations and of devices are passed over."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) != 3 or words[1] not in (b"Read", b"Write"):
            continue
        major, _, minor = words[0].partition(b":")
        device = int(major), int(minor)
        reads, writes = found.get(device, (0, 0))
        amount = int(words[2])
        found[device] = (amount, writes) if words[1] == b"Read" else (reads, amount)
    return found


def parse_io(text: bytes) -> list[DeviceIo]:
    """Lines of io.stat, like "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0"."""
    devices = []
    for line in text.splitlines():
        device, _, rest = line.partition(b" ")
        major, colon, minor = device.partition(b":")
        pairs = dict(word.partition(b"=")[::2] for word in rest.split())
        if not colon or b"rbytes" not in pairs:  # devices without statistics are listed bare
            continue
        amounts = (int(pairs.get(key, b"0")) for key in (b"rbytes", b"wbytes", b"rios", b"wios"))
        devices.append(device_io(int(major), int(minor), *amounts))
    return devices


def device_io(major: int, minor: int, read_bytes: int, write_bytes: int, reads: int, writes: int) -> DeviceIo:
    return DeviceIo(
        major=major,
        minor=minor,
        read_bytes=read_bytes,
        write_bytes=write_bytes,
        read_operations=reads,
        write_operations=writes,
    )
