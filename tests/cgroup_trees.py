"""Directory trees that behave like cgroupfs as far as the drivers can tell: a mkdir makes the control files, writes are
checked as the kernel checks them. For tests that need neither root nor a cgroup version that the host lacks.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from oci.cgroups.files import ControlFiles
from oci.cgroups.hierarchies import Hierarchy
from oci.cgroups.v1 import V1Driver
from oci.cgroups.v2 import V2Driver
from oci.errors import CgroupError

NO_LIMIT = str((1 << 63) - 4096)

V1_FILES: Mapping[str, Mapping[str, str]] = {
    "memory": {
        "memory.limit_in_bytes": NO_LIMIT, "memory.memsw.limit_in_bytes": NO_LIMIT, "memory.usage_in_bytes": "8388608",
        "memory.soft_limit_in_bytes": NO_LIMIT, "memory.swappiness": "60",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        "memory.stat": (
            "rss 1\nhierarchical_memory_limit {memory.limit_in_bytes}\n"
            "hierarchical_memsw_limit {memory.memsw.limit_in_bytes}\ntotal_cache 5000\ntotal_rss 4096\ntotal_swap 0\n"
            "total_pgfault 7\ntotal_pgmajfault 2\ntotal_inactive_file 388608\n"
        ),
    },
    "cpu": {
        "cpu.shares": "1024", "cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000", "cpu.cfs_burst_us": "0",
        "cpu.idle": "0", "cpu.stat": "nr_periods 3\nnr_throttled 2\nthrottled_time 1000\n",
    },
    "cpuacct": {"cpuacct.usage": "1000", "cpuacct.usage_user": "700", "cpuacct.usage_sys": "300"},
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "devices": {"devices.allow": "", "devices.deny": ""},
    "freezer": {"freezer.state": "THAWED"},
    "pids": {"pids.max": "max", "pids.current": "1"},
    "blkio": {
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Write 512\n8:0 Total 4608\nTotal 4608\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
        "blkio.throttle.read_bps_device": "",
    },
}  # fmt: skip

V2_FILES: Mapping[str, Mapping[str, str]] = {
    "memory": {
        "memory.max": "max", "memory.low": "0", "memory.swap.max": "max", "memory.swap.current": "0",
        "memory.current": "8388608", "memory.events": "oom 0\noom_kill 0\n", "memory.oom.group": "0",
        "memory.stat": "anon 4096\nfile 5000\ninactive_file 388608\npgfault 7\npgmajfault 2\n",
        "memory.pressure": (
            "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"
        ),
    },
    "cpu": {"cpu.max": "max 100000", "cpu.weight": "100", "cpu.max.burst": "0", "cpu.idle": "0"},
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "io": {"io.stat": "8:0 rbytes=4096 wbytes=512 rios=1 wios=2 dbytes=0 dios=0\n", "io.weight": "default 100",
           "io.max": ""},
    "pids": {"pids.max": "max", "pids.current": "1"},
}  # fmt: skip
V2_CORE = {
    "cgroup.subtree_control": "",
    "cgroup.freeze": "0",
    "cgroup.events": "populated 0\nfrozen 0\n",
    "cgroup.kill": "",
    "cpu.stat": "usage_usec 1\nuser_usec 1\nsystem_usec 0\nnr_periods 3\nnr_throttled 2\nthrottled_usec 1\n",
}


class FakeFiles(ControlFiles):
    """`log` lists the writes as (file name, value)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[tuple[str, str]] = []
        self.refused: set[str] = set()  # controllers that cannot be enabled on v2

    def make(self, path: str) -> bool:
        made = super().make(path)
        if made:
            self.populate(Path(path))
        return made

    def populate(self, directory: Path) -> None:
        raise NotImplementedError

    def unmake(self, path: str) -> None:
        directory = Path(path)
        if not directory.exists():
            return
        if any(child.is_dir() for child in directory.iterdir()) or self._alive(directory):
            raise CgroupError(path, "cannot be removed: busy", errno.EBUSY)
        for child in directory.iterdir():
            child.unlink()
        super().unmake(path)

    def write(self, path: str, value: str) -> None:
        file = Path(path)
        self.log.append((file.name, value))
        if not file.exists():
            raise CgroupError(path, "no such file", errno.ENOENT)
        if file.name in ("cgroup.procs", "tasks"):
            with file.open("a") as stream:
                stream.write(f"{value}\n")
            return
        self.check(file, value)
        file.write_text(value)
        self.react(file, value)

    def check(self, file: Path, value: str) -> None: ...

    def react(self, file: Path, value: str) -> None: ...

    def read(self, path: str) -> bytes:
        text = super().read(path)
        for part in text.split(b"{")[1:]:
            name = part.partition(b"}")[0]
            text = text.replace(b"{" + name + b"}", Path(path).with_name(name.decode()).read_bytes())
        return text

    def read_open(self, fd: int) -> bytes:
        return self.read(os.readlink(f"/proc/self/fd/{fd}"))

    def read_list(self, path: str) -> bytes:
        if not Path(path).exists():
            raise CgroupError(path, "no such file", errno.ENOENT)
        return b"\n".join(str(pid).encode() for pid in self._alive(Path(path).parent))

    def _alive(self, directory: Path) -> list[int]:
        pids = map(int, (directory / "cgroup.procs").read_text().split())
        return [pid for pid in pids if Path(f"/proc/{pid}").exists() and not _is_zombie(pid)]

    def signal_tree(self, directory: Path, number: int) -> None:
        for each, _, _ in os.walk(directory):
            for pid in self._alive(Path(each)):
                os.kill(pid, number)

    def refuse(self, file: Path) -> None:
        raise CgroupError(str(file), "invalid argument", errno.EINVAL)


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


class FakeV1(FakeFiles):
    def populate(self, directory: Path) -> None:
        controller = directory.relative_to(self.root).parts[0]
        for name, text in {"cgroup.procs": "", "tasks": "", **V1_FILES.get(controller, {})}.items():
            (directory / name).write_text(text)

    def check(self, file: Path, value: str) -> None:
        if file.name == "memory.limit_in_bytes":
            if _bytes(value) > int((file.parent / "memory.memsw.limit_in_bytes").read_text()):
                self.refuse(file)
        elif file.name == "memory.memsw.limit_in_bytes":
            if _bytes(value) < int((file.parent / "memory.limit_in_bytes").read_text()):
                self.refuse(file)
        elif file.name == "cpu.cfs_burst_us":
            quota = int((file.parent / "cpu.cfs_quota_us").read_text())
            if 0 <= quota < int(value):
                self.refuse(file)
        elif file.name == "cpu.cfs_quota_us" and 0 <= int(value) < int((file.parent / "cpu.cfs_burst_us").read_text()):
            self.refuse(file)

    def react(self, file: Path, value: str) -> None:
        if file.name.startswith("memory.") and value == "-1":
            file.write_text(NO_LIMIT)
        elif file.name == "freezer.state":
            self.signal_tree(file.parent, signal.SIGSTOP if value == "FROZEN" else signal.SIGCONT)


def _bytes(value: str) -> int:
    return int(NO_LIMIT) if value == "-1" else int(value)


class FakeV2(FakeFiles):
    def populate(self, directory: Path) -> None:
        parent = directory.parent / "cgroup.subtree_control"
        controllers = parent.read_text().split()
        files = {"cgroup.procs": "", "cgroup.controllers": " ".join(controllers), **V2_CORE}
        for controller in controllers:
            files |= V2_FILES[controller]
        for name, text in files.items():
            (directory / name).write_text(text)

    def write(self, path: str, value: str) -> None:
        file = Path(path)
        if file.name != "cgroup.subtree_control":
            super().write(path, value)
            return
        wanted = {word.removeprefix("+") for word in value.split()}
        if wanted & self.refused or not wanted <= set((file.parent / "cgroup.controllers").read_text().split()):
            self.refuse(file)
        file.write_text(" ".join(sorted({*file.read_text().split(), *wanted})))
        for child in (each for each in file.parent.iterdir() if each.is_dir()):
            for controller in wanted:
                (child / "cgroup.controllers").write_text(file.read_text())
                for name, text in V2_FILES[controller].items():
                    (child / name).write_text(text)

    def check(self, file: Path, value: str) -> None:
        if file.name == "cpu.max.burst":
            quota = (file.parent / "cpu.max").read_text().split()[0]
            if quota != "max" and int(quota) < int(value):
                self.refuse(file)

    def react(self, file: Path, value: str) -> None:
        if file.name == "cgroup.freeze":
            (file.parent / "cgroup.events").write_text(f"populated 1\nfrozen {value}\n")
            self.signal_tree(file.parent, signal.SIGSTOP if value == "1" else signal.SIGCONT)
        elif file.name == "cgroup.kill":
            self.signal_tree(file.parent, signal.SIGKILL)


def fake_v1(root: Path, controllers: tuple[str, ...] = tuple(V1_FILES)) -> tuple[V1Driver, FakeV1]:
    """One hierarchy for each controller, as on most hosts; cpu and cpuacct apart, and one that is only named."""
    root.mkdir(exist_ok=True)
    files = FakeV1(root)
    hierarchies = []
    for name in (*controllers, "systemd"):
        files.make(str(root / name))
        known = frozenset((name,)) if name != "systemd" else frozenset[str]()
        hierarchies.append(Hierarchy(mount_point=str(root / name), controllers=known, name=name))
    if "cpuset" in controllers:
        (root / "cpuset" / "cpuset.cpus").write_text("0-1\n")
        (root / "cpuset" / "cpuset.mems").write_text("0\n")
    return V1Driver(hierarchies, files), files


def fake_v2(root: Path, controllers: tuple[str, ...] = tuple(V2_FILES)) -> tuple[V2Driver, FakeV2]:
    root.mkdir(exist_ok=True)
    files = FakeV2(root)
    for name, text in {"cgroup.procs": "", "cgroup.controllers": " ".join(controllers), **V2_CORE}.items():
        (root / name).write_text(text)
    return V2Driver(str(root), files), files
