"""Control groups: one interface, a driver for each cgroup version. Owns what the rest of Coracle knows of cgroups.

    driver = detect()
    cgroup = driver.create("/kubepods/burstable/pod1/abc", resources)

    __init__.py       the interface, the choice of the driver
    hierarchies.py    mountinfo -> where cgroups are mounted                          pure
    limits.py         conversions between the two versions' units                     pure
    limits_v1.py      spec.Resources -> settings for v1, in the order that works      pure
    limits_v2.py      the same for v2                                                 pure
    devices.py        device rules -> v1 lines, v2 eBPF program                       pure
    stats.py          what a cgroup has used: values and parsers                      pure
    stats_v1.py, stats_v2.py   the readers
    usage.py          readers that keep their files open, for what is asked for often
    files.py          the system calls on control files
    bpf.py            loading and attaching device programs (v2)
    v1.py, v2.py      the drivers
    systemd.py        the driver for v2 under systemd, with
    systemd_units.py  names, slices and limits as systemd has them                    pure
    systemd_calls.py  the calls to its manager
    systemd_bus.py    the connection that carries them (the only user of jeepney)

A cgroup path is absolute and relative to the root of every hierarchy. Which resources to set, and who joins when, is
the caller's business.

How a process gets in, cheapest way first (measured on Linux 6.18, nine v1 hierarchies):

- v2: `clone3` with the descriptor of `into_fd()`. No lock is taken for writing.
- v1: the process, while it has one thread, writes "0" into the `tasks` file of each hierarchy itself: `enter(fds)` in
  the child with the descriptors of `entry_fds()` opened before the fork. The kernel skips the thread-group lock for
  "this very thread": 0.1 ms for all nine.
- `attach(pid)`: the first write to a cgroup.procs waits for an RCU grace period (5 to 12 ms, and every fork on the
  machine waits with it); the others cost 0.006 ms each, since the lock stays cheap for some 10 ms. For processes that
  are not ours.
"""

from __future__ import annotations

import os

from oci.cgroups.hierarchies import Hierarchy, Layout, parse_mountinfo
from oci.cgroups.stats import CgroupStats, MemoryDetails
from oci.errors import CgroupError, Unsupported
from oci.spec import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, Protocol

    from oci.cgroups.usage import UsageReader
else:
    Protocol = object

__all__ = ["Cgroup", "CgroupDriver", "CgroupStats", "Hierarchy", "Layout", "detect", "enter"]

MOUNT_POINT: Final = "/sys/fs/cgroup"


class Cgroup(Protocol):
    """One container's (or pod's) cgroup in every hierarchy. Failures are `CgroupError`s."""

    @property
    def path(self) -> str: ...

    def attach(self, pid: int) -> None:
        """Move a process here, in all hierarchies in a row. May wait 10 ms: see the module's words."""

    def into_fd(self) -> int | None:
        """A new descriptor for CLONE_INTO_CGROUP, for the caller to close; None on v1."""

    def entry_fds(self) -> tuple[int, ...]:
        """New descriptors for `enter`, for the caller to close; empty where `into_fd` gives one."""

    def below(self, path: str) -> Cgroup:
        """The cgroup `path` inside of this one; on v1, this one in hierarchies that lack it. An error when all do."""

    def update(self, resources: Resources) -> None:
        """Set what `resources` names; everything else stays."""

    def stats(self) -> CgroupStats: ...

    def memory_details(self) -> MemoryDetails | None:
        """None without a memory controller."""

    def pids(self) -> tuple[int, ...]:
        """All processes here and below; empty when the cgroup is gone."""

    def kill(self, signal: int) -> None:
        """Signal every process here and below; with SIGKILL nothing escapes by forking."""

    def freeze(self) -> None:
        """Returns when every process has stopped."""

    def thaw(self) -> None: ...

    def oom_kills(self) -> int:
        """How many processes the kernel's OOM killer has killed here; 0 when the cgroup is gone."""

    def occupied(self) -> None:
        """The first process is inside: what kept a new cgroup alive until then, if anything had to, is let go."""

    def remove(self) -> None:
        """Remove it with everything below, in all hierarchies. Gone already is fine; EBUSY is waited for briefly."""

    def remove_if_empty(self) -> bool:
        """Remove it where it holds neither processes nor cgroups; False when it is still there somewhere."""


class CgroupDriver(Protocol):
    @property
    def name(self) -> str:
        """ "v1", "v2" or "systemd"."""

    @property
    def controllers(self) -> frozenset[str]:
        """What this host can limit. Asking for another controller's limit is an error that names it."""

    def create(self, path: str, resources: Resources | None) -> Cgroup:
        """Make the cgroup (an existing one is used) and set its limits; undone when that fails."""

    def open(self, path: str) -> Cgroup:
        """A handle on a cgroup by its path, whether or not it exists."""

    def usage_reader(self, path: str, *, pids: bool = False) -> UsageReader:
        """For the part of a cgroup's `stats` that is asked for often; `pids`: with the number of processes."""


def enter(fds: Sequence[int]) -> None:
    """Put this process, which has a single thread, into the cgroup whose `entry_fds` these are, and close them."""
    for fd in fds:
        os.write(fd, b"0")
        os.close(fd)


def detect(
    manager: str = "cgroupfs", mount_point: str = MOUNT_POINT, *, mountinfo: str = "/proc/self/mountinfo"
) -> CgroupDriver:
    """The driver for this host: v2 where the unified hierarchy is mounted at `mount_point`, else v1.

    `manager` is cgroupfs, systemd (needs v2), or auto: systemd where it runs a host with v2.
    """
    if manager not in ("auto", "cgroupfs", "systemd"):
        raise Unsupported(f"cgroup manager {manager!r}", "known are auto, cgroupfs and systemd")
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        layout = parse_mountinfo(file.read(), mount_point)
    if manager != "cgroupfs":
        lacking = _no_systemd(layout, mount_point)
        if lacking is None:
            from oci.cgroups.systemd import SystemdDriver

            return SystemdDriver(mount_point)
        if manager == "systemd":
            raise Unsupported("cgroup manager systemd", lacking)
    if layout.v2 == mount_point:
        from oci.cgroups.v2 import V2Driver

        return V2Driver(layout.v2)
    if not any(hierarchy.controllers for hierarchy in layout.v1):
        raise CgroupError(mount_point, "no cgroup file system with controllers is mounted here")
    from oci.cgroups.v1 import V1Driver

    return V1Driver(layout.v1)


def _no_systemd(layout: Layout, mount_point: str) -> str | None:
    """What keeps systemd from making our cgroups; None when nothing does."""
    if not os.path.isdir("/run/systemd/system"):
        return "systemd is not the init of this host (/run/systemd/system does not exist)"
    if layout.v2 != mount_point:
        return "it needs the unified hierarchy (cgroup v2); on v1 use the cgroup manager cgroupfs"
    from oci.cgroups.systemd_calls import bus_socket, private_socket

    if not os.path.exists(private_socket()) and not os.path.exists(bus_socket()):
        return f"systemd cannot be reached (neither {private_socket()} nor {bus_socket()} exists)"
    return None
