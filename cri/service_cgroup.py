"""Where the shims' cgroup is: the daemon's own, where systemd has delegated one (Delegate=yes), is split for them:

    <slice>/coracle.service/
        daemon/   this process and its image workers
        shims/    the launcher, and each shim until its pod's scope takes it

No controllers are handed down here: a cgroup that does so takes no processes itself, and systemd could not start the
service again in one where shims are left.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from oci import cgroups
from oci.cgroups import CgroupDriver

_log = logging.getLogger(__name__)
_MARKS: Final = ("trusted.delegate", "user.delegate")


def cgroup_of_shims(driver: CgroupDriver, cgroup_root: str) -> str:
    """Below `cgroup_root`, or beside the daemon in the unit that systemd started it as."""
    if driver.name == "systemd":
        try:
            if found := split_own_cgroup(cgroups.MOUNT_POINT):
                return found
        except OSError as error:
            _log.warning("the unit's cgroup cannot be split: %s", error)
    return f"{cgroup_root}/shims"


def split_own_cgroup(mount_point: str, own: str | None = None) -> str | None:
    """Move this process; returns the cgroup for shims, None where nothing was delegated. Raises OSError."""
    path = _own() if own is None else own
    unit = os.path.dirname(path) if os.path.basename(path) == "daemon" else path  # DelegateSubgroup=daemon
    if unit == "/" or not _delegated(mount_point + unit):
        return None
    for name in ("daemon", "shims"):
        Path(f"{mount_point}{unit}/{name}").mkdir(exist_ok=True)
    Path(f"{mount_point}{unit}/daemon/cgroup.procs").write_text("0")
    return f"{unit}/shims"


def _own() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return "/"


def _delegated(directory: str) -> bool:
    """systemd marks the cgroup of a unit that it has delegated (systemd's "Control Group APIs and Delegation")."""
    for mark in _MARKS:
        try:
            if os.getxattr(directory, mark) == b"1":
                return True
        except OSError:
            continue
    return False
