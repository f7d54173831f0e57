"""The driver for cgroup v1: one directory in each mounted hierarchy.

    <mount point of a hierarchy>/<path>/{tasks,cgroup.procs,...}

Every hierarchy is joined, also those without a limit, so that accounting, freezing and removal see the same processes.
"""

from __future__ import annotations

import errno
import os

from oci.cgroups import limits_v1
from oci.cgroups.devices import effective, v1_lines
from oci.cgroups.files import (
    ControlFiles,
    apply_setting,
    failure,
    make_all,
    process_tree,
    remove_empty,
    remove_tree,
    send,
    wait_for,
)
from oci.cgroups.hierarchies import Hierarchy, clean_path
from oci.cgroups.limits import UNLIMITED, Setting
from oci.cgroups.stats import CgroupStats, MemoryDetails, pick
from oci.cgroups.stats_v1 import read_memory_details, read_stats
from oci.errors import CgroupError
from oci.spec import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from oci.cgroups.usage import UsageReader

_SIGKILL: Final = 9
_FREEZE_SECONDS: Final = 2.0
_KILL_ROUNDS: Final = 20


class V1Driver:
    def __init__(self, hierarchies: Sequence[Hierarchy], files: ControlFiles | None = None) -> None:
        self.hierarchies: Final = tuple(hierarchies)
        self.controllers: Final = frozenset().union(*(hierarchy.controllers for hierarchy in hierarchies))
        self._files = files or ControlFiles()

    @property
    def name(self) -> str:
        return "v1"

    def open(self, path: str) -> V1Cgroup:
        return V1Cgroup(self.hierarchies, clean_path(path), self._files)

    def usage_reader(self, path: str, *, pids: bool = False) -> UsageReader:
        from oci.cgroups.usage import V1UsageReader  # of no use in a shim

        inner = clean_path(path)
        of = {controller: h.mount_point + inner for h in self.hierarchies for controller in h.controllers}
        return V1UsageReader(
            self._files,
            accounting=of.get("cpuacct"),
            memory=of.get("memory"),
            pids=of.get("pids") if pids else None,
        )

    def create(self, path: str, resources: Resources | None) -> V1Cgroup:
        cgroup = self.open(path)
        made: list[str] = []
        try:
            for hierarchy in self.hierarchies:
                directory = hierarchy.mount_point + cgroup.path
                made += make_all(self._files, directory)
                if "cpuset" in hierarchy.controllers:
                    self._fill_cpuset(directory, hierarchy.mount_point)
            if resources is not None:
                cgroup.apply(resources, limits_v1.Current())
        except BaseException:
            for directory in reversed(made):
                try:
                    self._files.unmake(directory)
                except CgroupError:  # somebody else uses it by now: the first error is the one to tell
                    pass
            raise
        return cgroup

    def _fill_cpuset(self, directory: str, mount_point: str) -> None:
        """A new cpuset is empty and lets no process in: it takes what its parent has, which may be new as well."""
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not self._files.read(f"{directory}/{file}").strip():
                parent = os.path.dirname(directory)
                if directory != mount_point and parent != mount_point:
                    self._fill_cpuset(parent, mount_point)
                self._files.write(f"{directory}/{file}", self._files.read(f"{parent}/{file}").decode().strip())


class V1Cgroup:
    def __init__(
        self, hierarchies: Sequence[Hierarchy], path: str, files: ControlFiles, entered: Sequence[str] = ()
    ) -> None:
        """`entered` are directories for new processes other than those of `path`."""
        self._hierarchies = hierarchies
        self._entered = entered
        self._path = path
        self._files = files
        self._every: Final = tuple(hierarchy.mount_point + path for hierarchy in hierarchies)
        self._of: Final = {
            controller: hierarchy.mount_point + path
            for hierarchy in hierarchies
            for controller in hierarchy.controllers
        }
        self._freezer: Final = self._of.get("freezer")
        # Any hierarchy knows all members; a frozen one is listed where it was frozen.
        self._members: Final = self._freezer or self._every[0]

    @property
    def path(self) -> str:
        return self._path

    def below(self, path: str) -> V1Cgroup:
        inner = clean_path(path)
        entered = [each + inner if self._files.exists(each + inner) else each for each in self._every]
        if entered == list(self._every):
            raise CgroupError(self._path + inner, "does not exist in any hierarchy", errno.ENOENT)
        return V1Cgroup(self._hierarchies, self._path, self._files, entered)

    def attach(self, pid: int) -> None:
        for directory in self._entered or self._every:
            self._files.write(f"{directory}/cgroup.procs", str(pid))

    def into_fd(self) -> None:
        return None

    def entry_fds(self) -> tuple[int, ...]:
        fds: list[int] = []
        for directory in self._entered or self._every:
            try:
                fds.append(os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                for fd in fds:
                    os.close(fd)
                raise failure(f"{directory}/tasks", "cannot be opened", error)
        return tuple(fds)

    def update(self, resources: Resources) -> None:
        self.apply(resources, self._current(resources))

    def apply(self, resources: Resources, current: limits_v1.Current) -> None:
        """Carry out what `resources` asks for; `current` is what is set before."""
        for file, line in v1_lines(effective(resources.devices)):
            self._files.write(f"{self._directory('devices')}/{file}", line)
        for setting in limits_v1.settings(resources, current):
            self._set(setting)

    def _set(self, setting: Setting) -> None:
        directory = self._of.get(setting.controller) if setting.optional else self._directory(setting.controller)
        if directory is not None:
            apply_setting(self._files, directory, setting)

    def _directory(self, controller: str) -> str:
        directory = self._of.get(controller)
        if directory is None:
            raise CgroupError(self._path, f"controller {controller} has no mounted hierarchy here", errno.ENODEV)
        return directory

    def _current(self, resources: Resources) -> limits_v1.Current:
        """Reads only what the order of the new settings depends on."""
        total, usage, quota, burst = UNLIMITED, 0, UNLIMITED, 0
        if resources.memory is not None and (memory := self._of.get("memory")) is not None:
            text = self._files.read_if_there(f"{memory}/memory.memsw.limit_in_bytes")
            total = UNLIMITED if text is None else int(text)
            if resources.memory.check_before_update:
                usage = int(self._files.read(f"{memory}/memory.usage_in_bytes"))
        if resources.cpu is not None and (cpu := self._of.get("cpu")) is not None:
            quota = int(self._files.read_if_there(f"{cpu}/cpu.cfs_quota_us") or UNLIMITED)
            burst = int(self._files.read_if_there(f"{cpu}/cpu.cfs_burst_us") or 0)
        return limits_v1.Current(memory_and_swap=total, memory_usage=usage, quota=quota, burst=burst)

    def stats(self) -> CgroupStats:
        return read_stats(self._files, self._of)

    def memory_details(self) -> MemoryDetails | None:
        memory = self._of.get("memory")
        return None if memory is None else read_memory_details(self._files, memory)

    def pids(self) -> tuple[int, ...]:
        return process_tree(self._files, self._members)

    def kill(self, signal: int) -> None:
        """Frozen processes neither fork nor exit, so that the list of ids is whole and stays true while it is used."""
        if self._freezer is None:
            self._kill_without_freezer(signal)
            return
        try:
            was_frozen = self._frozen()
            self.freeze()
        except CgroupError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return
            if error.errno != errno.ETIMEDOUT:
                raise
            # One that waits for a dead volume cannot be frozen; it must not protect the others.
            self._kill_without_freezer(signal)
            return
        try:
            send(self.pids(), signal)
        finally:
            if not was_frozen or signal == _SIGKILL:  # on v1 even SIGKILL waits for the thaw
                self.thaw()

    def _kill_without_freezer(self, signal: int) -> None:
        seen: set[int] = set()
        for _ in range(_KILL_ROUNDS):
            members = set(self.pids())
            fresh = members if signal == _SIGKILL else members - seen
            if not fresh:
                return
            send(fresh, signal)
            seen |= fresh

    def freeze(self) -> None:
        state = f"{self._directory('freezer')}/freezer.state"

        def frozen() -> bool:
            # Written again each time: a process forked meanwhile leaves the group half frozen until then.
            self._files.write(state, "FROZEN")
            return self._frozen()

        if not wait_for(frozen, _FREEZE_SECONDS):
            self.thaw()
            raise CgroupError(state, f"processes did not stop within {_FREEZE_SECONDS} s", errno.ETIMEDOUT)

    def _frozen(self) -> bool:
        return self._files.read(f"{self._freezer}/freezer.state").strip() == b"FROZEN"

    def thaw(self) -> None:
        self._files.write(f"{self._directory('freezer')}/freezer.state", "THAWED")

    def oom_kills(self) -> int:
        memory = self._of.get("memory")
        text = None if memory is None else self._files.read_if_there(f"{memory}/memory.oom_control")
        return pick(text or b"", (b"oom_kill",))[0]

    def occupied(self) -> None:
        pass  # a directory stays without processes

    def remove(self) -> None:
        for directory in self._every:
            remove_tree(self._files, directory, self.pids)

    def remove_if_empty(self) -> bool:
        gone = [remove_empty(self._files, directory) for directory in self._every]  # all are tried
        return all(gone)
