"""What a planner must know about host and request besides the config. Values; the engine fills them in."""

from __future__ import annotations

from oci.spec import IdMapping
from oci.values import frozen


@frozen
class CgroupHierarchy:
    """One mounted hierarchy. `name` is its directory below /sys/fs/cgroup, like "cpu,cpuacct"; `controllers` the mount
    options that select it ("cpu,cpuacct", "name=systemd"), empty for v2; `directory` the container's cgroup in it."""

    name: str
    controllers: str
    directory: str
    version: int = 1


@frozen
class Host:
    """`uid_map` and `gid_map` map every id that we have to itself: those of a user namespace without mappings.

    `privileged`: we may clone mounts where we are; without, only root of the container's user namespace may.
    `lsm` names the active security modules that take labels; `cgroups` is only there for configs that mount them."""

    last_capability: int = 40
    lsm: frozenset[str] = frozenset()
    cgroups: tuple[CgroupHierarchy, ...] = ()
    machine: str = "x86_64"
    uid_map: tuple[IdMapping, ...] = ()
    gid_map: tuple[IdMapping, ...] = ()
    privileged: bool = True


@frozen
class Supplied:
    """What the caller brings along.

    `enters`: the child puts itself into its cgroup (v1). `awaits`: somebody else does, meanwhile. Neither: it is there
    from its first instruction on (v2), or there is no cgroup.
    """

    rootfs: bool = False
    mounts: frozenset[int] = frozenset()
    enters: bool = False
    awaits: bool = False
    seccomp: bool = False
    preserved: tuple[int, ...] = ()
    no_pivot: bool = False
    no_new_keyring: bool = False
    check_program: bool = False
    resctrl: bool = False
    bundle: str = "/"
