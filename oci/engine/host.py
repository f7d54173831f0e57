"""What this host offers, read once: kernel capabilities, security modules, a procfs of our own."""

from __future__ import annotations

import errno
import os

from oci import capabilities, mounts
from oci import syscalls as sc
from oci.plan.host import CgroupHierarchy, Host
from oci.spec import IdMapping
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LOCKED_DOWN = sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV | sc.MOUNT_ATTR_NOEXEC


def read_host() -> Host:
    return Host(
        last_capability=_last_capability(),
        lsm=_labelling_modules(),
        machine=os.uname().machine,
        uid_map=_own_ids("uid_map", os.geteuid()),
        gid_map=_own_ids("gid_map", os.getegid()),
        privileged=bool(sc.capget()[0] & capabilities.SYS_ADMIN),
    )


def open_private_proc() -> int:
    """A procfs that is mounted nowhere, so nobody can have mounted anything over parts of it."""
    try:
        return mounts.make_filesystem("proc", "proc", attributes=_LOCKED_DOWN)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            raise
    # Inside a container that may not mount proc: the one it was given, if it is one.
    fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    if sc.filesystem_type(fd) != sc.PROC_SUPER_MAGIC:
        os.close(fd)
        raise OSError(errno.ENODEV, "/proc is not a proc file system", "/proc")
    return fd


@frozen
class CgroupMount:
    """`selector` is what picks the hierarchy when it is mounted ("cpu,cpuacct", "name=systemd"); empty for v2."""

    mount_point: str
    selector: str
    version: int


def read_cgroup_mounts(proc: int) -> tuple[CgroupMount, ...]:
    """Where hierarchies are mounted; they do not change while a node runs containers."""
    found: dict[str, CgroupMount] = {}
    for line in _read(proc, "self/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        fstype, _source, options = tail.split(" ")[:3]
        if fstype in ("cgroup", "cgroup2"):
            selector = _selector(options) if fstype == "cgroup" else ""
            mount_point = head.split(" ")[4]
            # A hierarchy may be mounted again elsewhere (for a test, in a container); the first is the host's own.
            version = 1 if fstype == "cgroup" else 2
            found.setdefault(selector, CgroupMount(mount_point=mount_point, selector=selector, version=version))
    return tuple(found.values())


def cgroup_hierarchies(
    proc: int, cgroup_mounts: Sequence[CgroupMount], cgroup_path: str | None
) -> tuple[CgroupHierarchy, ...]:
    """The container's directory in each hierarchy that has it (without a cgroup: our own)."""
    own = _own_cgroups(_read(proc, "self/cgroup")) if cgroup_path is None else {}
    found = []
    for entry in cgroup_mounts:
        path = own.get(entry.selector, "/") if cgroup_path is None else cgroup_path
        directory = os.path.normpath(f"{entry.mount_point}/{path}")
        if os.path.isdir(directory):
            found.append(
                CgroupHierarchy(
                    name=os.path.basename(entry.mount_point),
                    controllers=entry.selector,
                    directory=directory,
                    version=entry.version,
                )
            )
    return tuple(found)


def _own_cgroups(text: str) -> dict[str, str]:
    """Lines "ID:controllers:path"; the v2 line has no controllers."""
    entries = (line.split(":", 2) for line in text.splitlines())
    return {controllers: path for _, controllers, path in entries}


def _selector(super_options: str) -> str:
    generic = {"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"}
    kept = [word for word in super_options.split(",") if word not in generic and not word.startswith("release_agent=")]
    return ",".join(kept)


def _own_ids(name: str, effective: int) -> tuple[IdMapping, ...]:
    """All ids of our user namespace mapped to themselves; without privileges only our own, as root."""
    if os.geteuid():
        return (IdMapping(container_id=0, host_id=effective, size=1),)
    with open(f"/proc/self/{name}", encoding="utf-8") as file:
        extents = [line.split() for line in file]
    return tuple(IdMapping(container_id=int(first), host_id=int(first), size=int(size)) for first, _, size in extents)


def _last_capability() -> int:
    try:
        with open("/proc/sys/kernel/cap_last_cap") as file:
            return int(file.read())
    except OSError:
        return 40


def _labelling_modules() -> frozenset[str]:
    try:
        with open("/sys/kernel/security/lsm") as file:
            return frozenset(file.read().strip().split(",")) & {"apparmor", "selinux"}
    except OSError:
        pass  # securityfs is not mounted everywhere
    found = set()
    if os.path.exists("/sys/module/apparmor/parameters/enabled"):
        with open("/sys/module/apparmor/parameters/enabled") as file:
            if file.read().startswith("Y"):
                found.add("apparmor")
    if os.path.exists("/sys/fs/selinux/enforce"):
        found.add("selinux")
    return frozenset(found)


def _read(proc: int, path: str) -> str:
    fd = os.open(path, os.O_RDONLY, dir_fd=proc)
    with os.fdopen(fd) as file:
        return file.read()
