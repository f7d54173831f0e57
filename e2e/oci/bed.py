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

from oci import syscalls as sc

_CGROUPS: Final = Path("/sys/fs/cgroup")
_PR_SET_CHILD_SUBREAPER: Final = 36


def enter() -> None:
    """For this process and all that it starts; nothing of it is seen outside, and nothing is left."""
    sc.unshare(sc.CLONE_NEWNS)
    # Away from the host's peers first, then peers of our own.
    sc.mount(None, "/", None, sc.MS_PRIVATE | sc.MS_REC)
    sc.mount(None, "/", None, sc.MS_SHARED | sc.MS_REC)
    if not (_CGROUPS / "cgroup.controllers").exists():
        for controller in _idle_controllers():
            _mount_v1(controller)
    sc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


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


def _idle_controllers() -> list[str]:
    """Controllers that are left to cgroup v2 (hierarchy 0) and that the suites limit something with."""
    lines = (line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:])
    return [name for name, hierarchy, _, enabled in lines if name == "hugetlb" and (hierarchy, enabled) == ("0", "1")]


def _mount_v1(controller: str) -> None:
    directory = _CGROUPS / controller
    directory.mkdir(exist_ok=True)
    try:
        sc.mount("cgroup", str(directory), "cgroup", 0, controller)
    except OSError:
        directory.rmdir()
        raise
