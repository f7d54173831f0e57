"""Control groups: which version, which controllers, who manages them, and what is enabled for those below the root."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cri.config.schema import CgroupManager, Settings
from cri.doctor.node import Node
from cri.doctor.result import Result, fail, ok, warn
from oci.cgroups.hierarchies import Layout, parse_mountinfo

_GROUP: Final = "cgroups"
_MOUNT_POINT: Final = "/sys/fs/cgroup"
_NEEDED: Final = frozenset({"cpu", "memory", "pids"})
_USED: Final = frozenset({"cpuset", "io", "hugetlb"})
_V1_NAMES: Final = {"blkio": "io"}


def checks(node: Node, settings: Settings) -> Iterator[Result]:
    layout = parse_mountinfo(node.read("/proc/self/mountinfo") or "", _MOUNT_POINT)
    unified = layout.v2 == _MOUNT_POINT
    yield _version(layout, unified)
    yield _controllers(_controllers_of(node, layout, unified))
    yield _manager(node, settings, unified)
    if unified:
        yield _delegation(node)


def systemd_manages(node: Node, settings: Settings) -> bool:
    """What the daemon will decide: systemd where it runs a host with cgroup v2, unless told otherwise."""
    if settings.cgroup_manager is not CgroupManager.AUTO:
        return settings.cgroup_manager is CgroupManager.SYSTEMD
    return node.exists("/run/systemd/system") and node.exists(f"{_MOUNT_POINT}/cgroup.controllers")


def _version(layout: Layout, unified: bool) -> Result:
    if unified:
        return ok(_GROUP, "version", "v2")
    if not any(hierarchy.controllers for hierarchy in layout.v1):
        return fail(_GROUP, "version", f"none at {_MOUNT_POINT}", f"mount -t cgroup2 none {_MOUNT_POINT}")
    seen = "v1 with v2 beside it" if layout.v2 else "v1"
    advice = "boot with systemd.unified_cgroup_hierarchy=1: the kubelet gives up v1 (failCgroupV1)"
    return warn(_GROUP, "version", seen, advice)


def _controllers_of(node: Node, layout: Layout, unified: bool) -> frozenset[str]:
    if unified:
        return frozenset((node.read(f"{_MOUNT_POINT}/cgroup.controllers") or "").split())
    return frozenset(_V1_NAMES.get(name, name) for hierarchy in layout.v1 for name in hierarchy.controllers)


def _controllers(present: frozenset[str]) -> Result:
    if absent := sorted(_NEEDED - present):
        advice = "boot with cgroup_enable=memory, or use a kernel that has them: limits of pods need them"
        return fail(_GROUP, "controllers", f"no {', '.join(absent)}", advice)
    if absent := sorted(_USED - present):
        return warn(_GROUP, "controllers", f"no {', '.join(absent)}", "limits of these kinds are refused")
    return ok(_GROUP, "controllers", " ".join(sorted(_NEEDED | _USED)))


def _manager(node: Node, settings: Settings, unified: bool) -> Result:
    has_systemd = node.exists("/run/systemd/system")
    if settings.cgroup_manager is CgroupManager.SYSTEMD and not (has_systemd and unified):
        lack = "cgroup v2" if has_systemd else "systemd"
        return fail(_GROUP, "manager", f"cgroup_manager is systemd, but this host has no {lack}", "set it to auto")
    if settings.cgroup_manager is CgroupManager.CGROUPFS and has_systemd and unified:
        advice = "set cgroup_manager to auto: systemd may undo what others do in its tree"
        return warn(_GROUP, "manager", "cgroupfs, on a host that systemd manages", advice)
    return ok(_GROUP, "manager", "systemd" if systemd_manages(node, settings) else "cgroupfs")


def _delegation(node: Node) -> Result:
    enabled = frozenset((node.read(f"{_MOUNT_POINT}/cgroup.subtree_control") or "").split())
    if absent := sorted(_NEEDED - enabled):
        advice = f"echo {' '.join('+' + name for name in absent)} > {_MOUNT_POINT}/cgroup.subtree_control"
        return warn(_GROUP, "delegation", f"{', '.join(absent)} not enabled below the root", advice)
    return ok(_GROUP, "delegation", " ".join(sorted(enabled)))
