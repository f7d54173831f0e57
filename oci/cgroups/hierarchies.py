"""Where cgroups are mounted, read from /proc/self/mountinfo. Pure: text in, values out.

A controller of /proc/self/cgroup may have a hierarchy that is mounted nowhere, and several controllers may share one
hierarchy, so mountinfo is the only source asked (proc_pid_mountinfo(5), cgroups(7)).
"""

from __future__ import annotations

from oci.errors import CgroupError
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Options of a v1 mount that are neither a controller nor the hierarchy's name.
_NOT_CONTROLLERS: Final = frozenset(
    ("rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "seclabel", "relatime")
)


@frozen
class Hierarchy:
    """One v1 hierarchy. `controllers` may be empty for a named one (name=systemd)."""

    mount_point: str
    controllers: frozenset[str]
    name: str = ""


@frozen
class Layout:
    """`v1` in mount order; `v2` is the mount point of the unified hierarchy."""

    v1: tuple[Hierarchy, ...] = ()
    v2: str | None = None


def parse_mountinfo(text: str, below: str = "/sys/fs/cgroup") -> Layout:
    """The cgroup mounts at and below `below`; of several mounts of one hierarchy the first counts."""
    v1: dict[tuple[frozenset[str], str], Hierarchy] = {}
    v2: str | None = None
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not separator or len(fields) < 5 or len(kind) < 3:
            continue
        mount_point = _plain(fields[4])
        if mount_point != below and not mount_point.startswith(below.rstrip("/") + "/"):
            continue
        if kind[0] == "cgroup2":
            v2 = v2 or mount_point
        elif kind[0] == "cgroup":
            hierarchy = _hierarchy(mount_point, kind[2])
            v1.setdefault((hierarchy.controllers, hierarchy.name), hierarchy)
    return Layout(v1=tuple(v1.values()), v2=v2)


def _plain(text: str) -> str:
    """Without the octal escapes for space, tab, newline and backslash (proc_pid_mountinfo(5))."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _hierarchy(mount_point: str, options: str) -> Hierarchy:
    name = ""
    controllers = set()
    for option in options.split(","):
        if option.startswith("name="):
            name = option.removeprefix("name=")
        elif option not in _NOT_CONTROLLERS and "=" not in option:
            controllers.add(option)
    return Hierarchy(mount_point=mount_point, controllers=frozenset(controllers), name=name)


def clean_path(path: str) -> str:
    """`path` as "/a/b", checked: it comes from a config.json or from the kubelet and becomes a directory name."""
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in path):
        raise CgroupError(repr(path), "holds control characters")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise CgroupError(path, "must not hold '..'")
    if not parts:
        raise CgroupError(path or "''", "is the root cgroup, which holds no container")
    return "/" + "/".join(parts)
