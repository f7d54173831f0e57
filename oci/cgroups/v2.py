"""The driver for cgroup v2, writing to cgroupfs: one directory in the unified hierarchy.

    <mount point>/<path>/{cgroup.procs,cgroup.controllers,memory.max,...}

A controller's files exist only where every cgroup above lists it in its cgroup.subtree_control.
"""

from __future__ import annotations

import errno
import os

from oci.cgroups import limits_v2
from oci.cgroups.bpf import replace_device_program
from oci.cgroups.devices import effective, v2_program
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
from oci.cgroups.hierarchies import clean_path
from oci.cgroups.limits import UNLIMITED
from oci.cgroups.stats import CgroupStats, MemoryDetails, pick
from oci.cgroups.stats_v2 import read_memory_details, read_stats
from oci.errors import CgroupError
from oci.spec import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from oci.cgroups.usage import UsageReader

_SIGKILL: Final = 9
_FREEZE_SECONDS: Final = 2.0


class V2Driver:
    def __init__(self, mount_point: str, files: ControlFiles | None = None) -> None:
        self.mount_point: Final = mount_point
        self._files = files or ControlFiles()
        # Devices are limited by programs, which need no controller.
        self.controllers: Final = frozenset((*self._available(mount_point), "devices"))

    @property
    def name(self) -> str:
        return "v2"

    def open(self, path: str) -> V2Cgroup:
        return V2Cgroup(self.mount_point, clean_path(path), self._files)

    def usage_reader(self, path: str, *, pids: bool = False) -> UsageReader:
        from oci.cgroups.usage import V2UsageReader  # of no use in a shim

        return V2UsageReader(self._files, self.mount_point + clean_path(path), pids=pids)

    def create(self, path: str, resources: Resources | None) -> V2Cgroup:
        cgroup = self.open(path)
        directory = self.mount_point + cgroup.path
        made: list[str] = []
        try:
            made = make_all(self._files, directory)
            self._enable(directory)
            if resources is not None:
                cgroup.apply(resources, limits_v2.Current())
        except BaseException:
            for each in reversed(made):
                try:
                    self._files.unmake(each)
                except CgroupError:  # somebody else uses it by now: the first error is the one to tell
                    pass
            raise
        return cgroup

    def _enable(self, directory: str) -> None:
        """Give `directory` every controller that the host has, by enabling them in the cgroups above.

        What cannot be enabled (a controller bound to v1, a cgroup with processes of its own) is passed over here; a
        limit that needs it fails and says so.
        """
        wanted = self.controllers - {"devices"}
        if wanted <= self._available(directory):
            return
        above = self.mount_point
        for part in os.path.relpath(directory, self.mount_point).split("/"):
            enabled = frozenset(self._files.read(f"{above}/cgroup.subtree_control").decode().split())
            missing = sorted((wanted & self._available(above)) - enabled)
            if missing and not self._try_enable(above, missing):
                for controller in missing:  # one that the kernel refuses would keep out the others
                    self._try_enable(above, [controller])
            above = f"{above}/{part}"

    def _try_enable(self, directory: str, controllers: list[str]) -> bool:
        try:
            self._files.write(f"{directory}/cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))
        except CgroupError:
            return False
        return True

    def _available(self, directory: str) -> frozenset[str]:
        return frozenset(self._files.read(f"{directory}/cgroup.controllers").decode().split())


class V2Cgroup:
    def __init__(self, mount_point: str, path: str, files: ControlFiles) -> None:
        self._path = path
        self._mount_point = mount_point
        self._directory: Final = mount_point + path
        self._files = files

    @property
    def path(self) -> str:
        return self._path

    def attach(self, pid: int) -> None:
        self._files.write(f"{self._directory}/cgroup.procs", str(pid))

    def into_fd(self) -> int:
        try:
            return os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise failure(self._directory, "cannot be opened", error)

    def entry_fds(self) -> tuple[int, ...]:
        return ()

    def below(self, path: str) -> V2Cgroup:
        inner = clean_path(f"{self._path}/{path}")
        if not self._files.exists(f"{self._mount_point}{inner}"):
            raise CgroupError(inner, "does not exist", errno.ENOENT)
        return V2Cgroup(self._mount_point, inner, self._files)

    def update(self, resources: Resources) -> None:
        self.apply(resources, self._current(resources))

    def apply(self, resources: Resources, current: limits_v2.Current) -> None:
        """Carry out what `resources` asks for; `current` is what is set before."""
        if resources.devices:
            replace_device_program(self._directory, v2_program(effective(resources.devices)))
        for setting in limits_v2.settings(resources, current):
            try:
                apply_setting(self._files, self._directory, setting)
            except CgroupError as error:
                if error.errno == errno.ENOENT and not self._has(setting.controller):
                    problem = f"the requested cgroup controller `{setting.controller}` is not available"
                    raise CgroupError(self._path, problem, errno.ENOENT) from error
                raise

    def _has(self, controller: str) -> bool:
        known = self._files.read_if_there(f"{self._directory}/cgroup.controllers") or b""
        return controller in ("cgroup", *known.decode().split())

    def _current(self, resources: Resources) -> limits_v2.Current:
        """Reads only what the new settings depend on."""
        usage, quota, burst = 0, UNLIMITED, 0
        if resources.memory is not None and resources.memory.check_before_update:
            usage = int(self._files.read_if_there(f"{self._directory}/memory.current") or 0)
        if resources.cpu is not None:
            amount = (self._files.read_if_there(f"{self._directory}/cpu.max") or b"max").split()[0]
            quota = UNLIMITED if amount == b"max" else int(amount)
            burst = int(self._files.read_if_there(f"{self._directory}/cpu.max.burst") or 0)
        return limits_v2.Current(memory_usage=usage, quota=quota, burst=burst)

    def stats(self) -> CgroupStats:
        return read_stats(self._files, self._directory)

    def memory_details(self) -> MemoryDetails | None:
        if self._files.read_if_there(f"{self._directory}/memory.current") is None:
            return None
        return read_memory_details(self._files, self._directory)

    def pids(self) -> tuple[int, ...]:
        return process_tree(self._files, self._directory)

    def kill(self, signal: int) -> None:
        if signal == _SIGKILL and self._kill_all():
            return
        try:
            was_frozen = self._frozen("cgroup.freeze", b"1")
            self.freeze()
        except CgroupError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return
            raise
        try:
            send(self.pids(), signal)
        finally:
            if not was_frozen:
                self.thaw()

    def _kill_all(self) -> bool:
        """Linux >= 5.14 does it in one write; False where it cannot."""
        try:
            self._files.write(f"{self._directory}/cgroup.kill", "1")
        except CgroupError as error:
            if error.errno == errno.ENODEV:  # gone between the open and the write: systemd removes empty scopes
                return True
            if error.errno == errno.ENOENT:
                return not self._files.exists(self._directory)
            raise
        return True

    def freeze(self) -> None:
        self._files.write(f"{self._directory}/cgroup.freeze", "1")
        if not wait_for(lambda: self._frozen("cgroup.events", b"frozen 1"), _FREEZE_SECONDS):
            self.thaw()
            problem = f"processes did not stop within {_FREEZE_SECONDS} s"
            raise CgroupError(self._directory, problem, errno.ETIMEDOUT)

    def _frozen(self, file: str, line: bytes) -> bool:
        return line in self._files.read(f"{self._directory}/{file}").splitlines()

    def thaw(self) -> None:
        self._files.write(f"{self._directory}/cgroup.freeze", "0")

    def oom_kills(self) -> int:
        text = self._files.read_if_there(f"{self._directory}/memory.events")
        return pick(text or b"", (b"oom_kill",))[0]

    def occupied(self) -> None:
        pass  # a directory stays without processes

    def remove(self) -> None:
        remove_tree(self._files, self._directory, self.pids)

    def remove_if_empty(self) -> bool:
        return remove_empty(self._files, self._directory)
