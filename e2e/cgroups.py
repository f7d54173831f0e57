"""The cgroups around a test: made as the kubelet makes a pod's parent, removed with everything in them.

Works on v1, v2 and the mixed set-up: one directory in every hierarchy that is mounted below /sys/fs/cgroup.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")


def create(path: str) -> None:
    for hierarchy in _hierarchies():
        (hierarchy / path.strip("/")).mkdir(parents=True, exist_ok=True)


def remove(path: str) -> None:
    """Kills what runs below `path`, then removes it everywhere. A path that is not there is fine."""
    tops = [hierarchy / path.strip("/") for hierarchy in _hierarchies()]
    deadline = time.monotonic() + 5
    for top in tops:
        while top.is_dir():
            directories = [Path(directory) for directory, _, _ in os.walk(top, topdown=False)]
            for directory in directories:
                _empty(directory)
            try:
                for directory in directories:
                    directory.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def stop_slice(name: str) -> None:
    """A slice of systemd's stays when its last unit is gone; one that is not there is fine."""
    subprocess.run(["systemctl", "stop", name], check=False, capture_output=True)


def move(pid: int, path: str) -> None:
    """Into `path`, in every hierarchy."""
    for hierarchy in _hierarchies():
        (hierarchy / path.strip("/") / "cgroup.procs").write_text(str(pid))


def processes(path: str) -> set[int]:
    found: set[int] = set()
    for hierarchy in _hierarchies():
        for directory, _, _ in os.walk(hierarchy / path.strip("/")):
            found |= _members(Path(directory))
    return found


def _empty(directory: Path) -> None:
    for pid in _members(directory):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _members(directory: Path) -> set[int]:
    try:
        return {int(line) for line in (directory / "cgroup.procs").read_text().split()}
    except OSError:
        return set()


def _hierarchies() -> list[Path]:
    """Mount points of cgroup file systems; links like cpu -> cpu,cpuacct are no mounts and drop out."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4])
        if right.split()[0] in ("cgroup", "cgroup2") and (point == _ROOT or _ROOT in point.parents):
            found.append(point)
    return found
