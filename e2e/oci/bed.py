"""The machine as the suites want it, made for one run in a mount namespace of its own.

- every cgroup controller has a v1 hierarchy where the host is a v1 host: one that was left without (hugetlb, often)
  makes runtimes refuse everything;
- mounts are shared, else nothing about propagation can be tested;
- orphans are reaped: the suites wait until a container's process is gone, and a zombie never is.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

from oci import mounts
from oci import syscalls as sc

_CGROUPS: Final = Path("/sys/fs/cgroup")


def enter() -> None:
    """For this process and all that it starts; nothing of it is seen outside, and nothing is left."""
    sc.unshare(sc.CLONE_NEWNS)
    # Away from the host's peers first, then peers of our own.
    sc.mount(None, "/", None, sc.MS_PRIVATE | sc.MS_REC)
    missing = [] if (_CGROUPS / "cgroup.controllers").exists() else _missing_controllers()
    if missing:
        _rebuild_cgroups(missing)
    sc.mount(None, "/", None, sc.MS_SHARED | sc.MS_REC)
    sc.prctl(sc.PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans(keep: frozenset[int]) -> None:
    """Collects every ended child but those that somebody waits for."""
    for entry in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        pid = int(entry)
        if pid not in keep:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def kill_orphans(keep: frozenset[int]) -> None:
    """What a suite's case has left running."""
    for entry in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        pid = int(entry)
        if pid not in keep:
            os.kill(pid, signal.SIGKILL)
            _thaw(pid)
            os.waitpid(pid, 0)


def _thaw(pid: int) -> None:
    """On v1 a frozen process does not even die."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "freezer" and path != "/":
            (_CGROUPS / "freezer" / path.lstrip("/") / "freezer.state").write_text("THAWED")


def _missing_controllers() -> list[str]:
    """Those that the suites limit something with and that no hierarchy here offers."""
    known = {line.split()[0] for line in Path("/proc/cgroups").read_text().splitlines()}
    mounted = Path("/proc/self/mountinfo").read_text()
    return [name for name in ("hugetlb",) if name in known and f"/sys/fs/cgroup/{name} " not in mounted]


def _rebuild_cgroups(missing: list[str]) -> None:
    """A directory of our own with the hierarchies that are there and the missing ones: the host's stays as it is."""
    links = {entry.name: os.readlink(entry) for entry in _CGROUPS.iterdir() if entry.is_symlink()}
    found = [entry.name for entry in _CGROUPS.iterdir() if entry.is_mount()]
    trees = {name: mounts.clone_tree(sc.AT_FDCWD, str(_CGROUPS / name)) for name in found}
    sc.mount("cgroups", str(_CGROUPS), "tmpfs", 0, "mode=755")
    for name, tree in trees.items():
        (_CGROUPS / name).mkdir()
        sc.move_mount(tree, sc.AT_FDCWD, str(_CGROUPS / name))
        os.close(tree)
    for name, target in links.items():
        (_CGROUPS / name).symlink_to(target)
    for controller in missing:
        (_CGROUPS / controller).mkdir()
        sc.mount("cgroup", str(_CGROUPS / controller), "cgroup", 0, controller)
