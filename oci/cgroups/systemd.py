"""The driver for cgroup v2 under systemd: scopes are systemd's units, what is below them is ours (Delegate=yes).

    <mount point>/<manager>/kubepods.slice/.../kubepods-podUID.slice/   systemd's, made by whoever asks for it first
        coracle-<id>.scope/                                             a unit; ends when its last process does
            ...                                                         delegated: plain directories, as in `v2`

A scope needs a process from its first moment on, and systemd removes it, with all that can be read there, when the last
one has gone. Two ways to use it:

- `create`: a scope for one container, for the command line. A child of ours holds the seat until the container's init
  is cloned into the scope and `occupied` is called. Limits are written to the control files and mirrored as properties.
- `hold`: a scope for a pod, around its shim, which lives longer than any of its containers. Containers are directories
  inside, made and limited without systemd's help: what is delegated it never touches, whatever is reloaded, and the
  count of OOM kills of a container that has ended is still there to be read.

A unit that has vanished (systemd forgot it, or somebody stopped it) is no error: the directories tell what is there.
"""

from __future__ import annotations

import os
import signal

from oci import syscalls
from oci.cgroups import limits_v2
from oci.cgroups.files import ControlFiles
from oci.cgroups.hierarchies import clean_path
from oci.cgroups.systemd_calls import Systemd
from oci.cgroups.systemd_units import INFINITY, Property, Scope, check_slice, parse_scope, properties
from oci.cgroups.v2 import V2Cgroup, V2Driver
from oci.errors import CgroupError
from oci.spec import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: Where a pod's shim lives inside its scope: processes may not be where controllers are handed down.
SHIM_LEAF: Final = "shim"
# For a host that goes down with pods on it: what containers get to end. Their shim, which ends after them and by order
# only, makes systemd wait this long.
_STOP_SECONDS: Final = 10
_COMMON: Final[tuple[Property, ...]] = (
    ("Delegate", ("b", True)),
    ("CPUAccounting", ("b", True)),
    ("MemoryAccounting", ("b", True)),
    ("IOAccounting", ("b", True)),
    ("TasksAccounting", ("b", True)),
    ("TasksMax", ("t", INFINITY)),  # systemd's default is a share of the host's, meant for services
    ("CollectMode", ("s", "inactive-or-failed")),
)


class SystemdDriver(V2Driver):
    def __init__(self, mount_point: str, systemd: Systemd | None = None, files: ControlFiles | None = None) -> None:
        super().__init__(mount_point, files)
        self._systemd = systemd or Systemd()
        self._manager: str | None = None

    @property
    def name(self) -> str:
        return "systemd"

    def open(self, path: str) -> V2Cgroup:
        """A scope by its path; everything else, above and below scopes, is a plain cgroup."""
        cleaned = clean_path(path)
        if not cleaned.endswith(".scope"):
            return V2Cgroup(self.mount_point, cleaned, self._files)
        return ScopeCgroup(self.mount_point, cleaned, self._files, self._systemd)

    def create(self, path: str, resources: Resources | None) -> V2Cgroup:
        """`path` is "slice:prefix:name" or a scope's path. The caller calls `occupied` once a process is inside."""
        scope = parse_scope(path)
        cgroup = ScopeCgroup(self.mount_point, clean_path(self.scope_path(scope)), self._files, self._systemd)
        cgroup.take_seat()
        try:
            self._start(scope, cgroup.seat, f"container {scope.unit.removesuffix('.scope')}")
            self._enable(self.mount_point + cgroup.path)
            if resources is not None:
                cgroup.apply(resources, limits_v2.Current())
        except BaseException:
            cgroup.occupied()
            raise
        return cgroup

    def pod_path(self, parent: str, unit: str) -> str:
        """Where the scope of a pod lies whose parent is the slice `parent` ("a-b.slice", or its whole path)."""
        return self.scope_path(Scope(slice=check_slice(parent.rstrip("/").rpartition("/")[2]), unit=unit))

    def hold(self, path: str, pid: int, description: str) -> None:
        """The pod's scope at `path`, with its shim in it; made when it is not there."""
        scope = parse_scope(path)
        patience: Property = ("TimeoutStopUSec", ("t", _STOP_SECONDS * 1_000_000))
        self._start(scope, pid, description, (patience,), may_exist=True)
        leaf = V2Cgroup(self.mount_point, f"{clean_path(path)}/{SHIM_LEAF}", self._files)
        self._files.make(self.mount_point + leaf.path)
        leaf.attach(pid)

    def scope_path(self, scope: Scope) -> str:
        if self._manager is None:
            self._manager = self._systemd.control_group()
        return self._manager + scope.path

    def _start(
        self, scope: Scope, pid: int, description: str, more: tuple[Property, ...] = (), *, may_exist: bool = False
    ) -> None:
        wanted: tuple[Property, ...] = (
            ("Description", ("s", f"Coracle {description}")),
            ("Slice", ("s", scope.slice)),
            *_COMMON,
            *more,
        )
        if not self._systemd.start_scope(scope.unit, (pid,), wanted) and not may_exist:
            raise CgroupError(scope.unit, "systemd has a unit of this name already")


class ScopeCgroup(V2Cgroup):
    def __init__(self, mount_point: str, path: str, files: ControlFiles, systemd: Systemd) -> None:
        super().__init__(mount_point, path, files)
        self._systemd = systemd
        self.unit: Final = path.rpartition("/")[2]
        self.seat = 0

    def apply(self, resources: Resources, current: limits_v2.Current) -> None:
        super().apply(resources, current)
        now = (self._files.read_if_there(f"{self._directory}/cpu.max") or b"").decode().strip()
        wanted = properties(limits_v2.settings(resources, current), now)
        if wanted:
            self._systemd.set_properties(self.unit, wanted)

    def take_seat(self) -> None:
        """A child that does nothing, so that the scope has a process before the container has."""
        owner = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
                while os.getppid() == owner:
                    signal.pause()
            finally:
                os._exit(0)
        self.seat = pid

    def occupied(self) -> None:
        if self.seat:
            os.kill(self.seat, signal.SIGKILL)
            os.waitpid(self.seat, 0)
            self.seat = 0

    def remove(self) -> None:
        self.occupied()
        super().remove()
        self._systemd.stop(self.unit)

    def remove_if_empty(self) -> bool:
        gone = super().remove_if_empty()
        if gone:
            self._systemd.stop(self.unit)
        return gone
