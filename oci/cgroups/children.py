"""The cgroups directly below one: for a check of what is there, not for the executor."""

from __future__ import annotations

import os

from oci.cgroups import CgroupDriver
from oci.cgroups.v1 import V1Driver
from oci.cgroups.v2 import V2Driver


def children(driver: CgroupDriver, path: str) -> tuple[str, ...]:
    """Their paths, of any hierarchy; none where the cgroup itself does not exist. Raises OSError."""
    found: set[str] = set()
    for mount_point in _mount_points(driver):
        try:
            with os.scandir(mount_point + path) as entries:
                found.update(f"{path}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            continue
    return tuple(sorted(found))


def _mount_points(driver: CgroupDriver) -> tuple[str, ...]:
    if isinstance(driver, V1Driver):
        return tuple(hierarchy.mount_point for hierarchy in driver.hierarchies)
    if isinstance(driver, V2Driver):
        return (driver.mount_point,)
    raise TypeError(f"{driver.name} has no known hierarchies")
