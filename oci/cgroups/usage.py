"""What is asked of every container again and again, read through descriptors that stay open.

Opening a control file costs more than reading it. A `UsageReader` opens the few files of one cgroup once and reads them
with pread(2), which makes the kernel produce them anew. It holds three descriptors with v1, up to nine with v2; who has
many says how many it keeps, and closes those of cgroups that go. A cgroup can be removed under an open reader: reading
fails with ENODEV then.

Values are tuples, not `frozen` classes: a thousand containers are read in a row.
"""

from __future__ import annotations

import errno
import os
import time
from typing import NamedTuple, Protocol

from oci.cgroups.files import ControlFiles
from oci.cgroups.stats import Pressure, parse_limit, parse_pressure
from oci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

#: v1 shows "no limit" as the largest multiple of the page size below 2^63.
_V1_UNLIMITED: Final = 1 << 62


class MemoryUsage(NamedTuple):
    """As `oci.cgroups.stats.MemoryStats`, with what the limit leaves: None without a limit."""

    usage: int
    working_set: int
    rss: int
    page_faults: int
    major_page_faults: int
    available: int | None
    swap_usage: int | None
    swap_limit: int | None
    pressure: Pressure | None = None


class Usage(NamedTuple):
    """`timestamp_ns` is the time since the epoch at which reading began; a part without its controller is None."""

    timestamp_ns: int
    cpu_ns: int | None
    memory: MemoryUsage | None
    processes: int | None = None
    cpu_pressure: Pressure | None = None
    io_pressure: Pressure | None = None


class UsageReader(Protocol):
    def read(self) -> Usage: ...

    def close(self) -> None: ...

    @property
    def descriptors(self) -> int: ...


class KeyedNumbers:
    """Numbers of a "key value" file. The kernel keeps the order of its lines: where they stand is found out once."""

    def __init__(self, *keys: bytes) -> None:
        self._keys = keys
        self._places: tuple[int, ...] = ()
        self._names: list[bytes] | None = None

    def pick(self, text: bytes) -> list[int]:
        """One for each key, 0 for one that is not there."""
        words = text.split()
        names = words[::2]
        if names != self._names:
            places = dict(zip(names, range(1, len(words), 2), strict=False))
            self._names, self._places = names, tuple(places.get(key, 0) for key in self._keys)
        return [int(words[place]) if place else 0 for place in self._places]


class _OpenFiles:
    """Descriptors of a cgroup's files; 0 stands for one that is not there."""

    def __init__(self, files: ControlFiles) -> None:
        self.read: Final[Callable[[int], bytes]] = files.read_open
        self._files = files
        self._fds: list[int] = []

    def open(self, path: str, *, needed: bool = False) -> int:
        try:
            fd = self._files.open(path)
        except CgroupError as error:
            if needed or error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                self.close()
                raise
            return 0
        self._fds.append(fd)
        return fd

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    @property
    def count(self) -> int:
        return len(self._fds)


_V1_MEMORY: Final = KeyedNumbers(
    b"hierarchical_memory_limit", b"hierarchical_memsw_limit", b"total_inactive_file", b"total_rss", b"total_pgfault",
    b"total_pgmajfault", b"total_swap",
)  # fmt: skip


class V1UsageReader:
    """The arguments are the cgroup's directories in those hierarchies; v1 has no pressure files."""

    def __init__(
        self, files: ControlFiles, *, accounting: str | None, memory: str | None, pids: str | None = None
    ) -> None:
        self._files = opened = _OpenFiles(files)
        self._accounting = opened.open(f"{accounting}/cpuacct.usage", needed=True) if accounting else 0
        self._memory = opened.open(f"{memory}/memory.usage_in_bytes", needed=True) if memory else 0
        self._stat = opened.open(f"{memory}/memory.stat", needed=True) if memory else 0
        self._pids = opened.open(f"{pids}/pids.current") if pids else 0

    @property
    def descriptors(self) -> int:
        return self._files.count

    def read(self) -> Usage:
        read = self._files.read
        return Usage(
            time.time_ns(),
            int(read(self._accounting)) if self._accounting else None,
            _v1_memory(int(read(self._memory)), read(self._stat)) if self._memory else None,
            int(read(self._pids)) if self._pids else None,
        )

    def close(self) -> None:
        self._files.close()


def _v1_memory(usage: int, text: bytes) -> MemoryUsage:
    limit, limit_with_swap, inactive, rss, faults, major, swap = _V1_MEMORY.pick(text)
    working_set = max(0, usage - inactive)
    return MemoryUsage(
        usage,
        working_set,
        rss,
        faults,
        major,
        max(0, limit - working_set) if limit < _V1_UNLIMITED else None,
        swap if limit_with_swap else None,  # 0: swap is not counted here, the line is missing
        max(0, limit_with_swap - limit) if 0 < limit_with_swap < _V1_UNLIMITED else None,
    )


_V2_CPU: Final = KeyedNumbers(b"usage_usec")
_V2_MEMORY: Final = KeyedNumbers(b"inactive_file", b"anon", b"pgfault", b"pgmajfault")
_V2_FILES: Final = (
    "memory.current", "memory.stat", "memory.max", "memory.swap.current", "memory.swap.max",
    "cpu.pressure", "memory.pressure", "io.pressure",
)  # fmt: skip


class V2UsageReader:
    def __init__(self, files: ControlFiles, directory: str, *, pids: bool = False) -> None:
        self._files = opened = _OpenFiles(files)
        self._cpu = opened.open(f"{directory}/cpu.stat", needed=True)  # there in every cgroup
        self._fds = {name: fd for name in _V2_FILES if (fd := opened.open(f"{directory}/{name}"))}
        self._pids = opened.open(f"{directory}/pids.current") if pids else 0

    @property
    def descriptors(self) -> int:
        return self._files.count

    def read(self) -> Usage:
        timestamp = time.time_ns()
        (usage,) = _V2_CPU.pick(self._files.read(self._cpu))
        return Usage(
            timestamp,
            usage * 1000,
            self._read_memory() if "memory.current" in self._fds else None,
            int(self._files.read(self._pids)) if self._pids else None,
            parse_pressure(self._read("cpu.pressure")),
            parse_pressure(self._read("io.pressure")),
        )

    def _read(self, name: str) -> bytes | None:
        fd = self._fds.get(name)
        try:
            return self._files.read(fd) if fd else None
        except CgroupError as error:
            if error.errno == errno.EOPNOTSUPP:  # pressure files of a kernel that was told not to look (psi=0)
                return None
            raise

    def _read_memory(self) -> MemoryUsage:
        usage = int(self._read("memory.current") or 0)
        inactive, anonymous, faults, major = _V2_MEMORY.pick(self._read("memory.stat") or b"")
        limit = parse_limit((self._read("memory.max") or b"max").strip())
        swap = self._read("memory.swap.current")
        working_set = max(0, usage - inactive)
        return MemoryUsage(
            usage,
            working_set,
            anonymous,
            faults,
            major,
            None if limit is None else max(0, limit - working_set),
            None if swap is None else int(swap),
            None if swap is None else parse_limit((self._read("memory.swap.max") or b"max").strip()),
            parse_pressure(self._read("memory.pressure")),
        )

    def close(self) -> None:
        self._files.close()


def read_all(readers: Iterable[UsageReader | None]) -> list[Usage | None]:
    """In a row; None for a cgroup that has gone."""
    return [None if reader is None else _read_one(reader) for reader in readers]


def _read_one(reader: UsageReader) -> Usage | None:
    try:
        return reader.read()
    except CgroupError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return None
        raise
