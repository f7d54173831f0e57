"""What a node loses when its power goes, imitated: every process, everything in memory, and nothing on the disk.

The kernel runs on, so its boot id stays the same: a runtime that trusted it alone would not notice.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from e2e import cgroups
from e2e.daemon import Daemon
from e2e.disk import unmount_below
from e2e.kube.cluster import Cluster
from e2e.kube.settings import CGROUP_ROOT

_NAMESPACES = Path("/run/netns")


def power_off(cluster: Cluster, daemon: Daemon) -> None:
    monitors = daemon.monitors()
    networks = {_network(pid) for pid in (*monitors, *cgroups.processes(CGROUP_ROOT))} - {_network(os.getpid())}
    cluster.kill_everything()
    daemon.kill()
    for pid in monitors:
        os.kill(pid, signal.SIGKILL)
    for path in (CGROUP_ROOT, daemon.settings.cgroup):
        cgroups.remove(path)
    for entry in _NAMESPACES.iterdir():
        if entry.stat().st_ino in networks:
            subprocess.run(["umount", str(entry)], check=True)
            entry.unlink()
    for directory in (cluster.directory / "node", daemon.settings.directory):
        unmount_below(directory)
    shutil.rmtree(daemon.runroot)
    subprocess.run(["ip", "link", "delete", daemon.settings.bridge], check=True)
    subprocess.run(["nft", "flush", "ruleset"], check=True)


def _network(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0
