"""`mounts` of config.json as operations. Pure: sources are neither opened nor looked at."""

from __future__ import annotations

import posixpath

from oci import syscalls as sc
from oci.errors import SpecError
from oci.plan import operations as op
from oci.plan.host import CgroupHierarchy, Host, Supplied
from oci.plan.mount_options import PROPAGATION, MountOptions, parse_options
from oci.plan.namespaces import NamespacePlan
from oci.spec import Mount, Spec
from oci.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

# A mount over other parts of /proc could fake the files that privileged programs read or write there.
_ALLOWED_BELOW_PROC: Final = frozenset(
    "/proc/" + name
    for name in (
        "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
        "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
    )
)  # fmt: skip

# File systems whose files have no label of their own; proc, sysfs and cgroup are labelled by the policy.
_LABELLED: Final = frozenset(("tmpfs", "devpts"))
# The kernel mounts it with the ipc namespace, so no later mount can bring a context; its root takes a label, which
# all containers of the namespace may use, whatever their categories. A queue has those of who made it.
_LABELLED_AFTERWARDS: Final = "mqueue"
_V1_TMPFS: Final = MountOptions(
    set=sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV | sc.MOUNT_ATTR_NOEXEC, data=("mode=755",)
)


def plan_mounts(spec: Spec, namespaces: NamespacePlan, host: Host, supplied: Supplied) -> list[op.Operation]:
    steps: list[op.Operation] = []
    for index, mount in enumerate(spec.mounts):
        steps += _plan_mount(index, mount, spec, namespaces, host, supplied)
    return steps


def readonly_later(spec: Spec, supplied: Supplied) -> list[op.Operation]:
    """A tmpfs asked to be read-only must stay writable until mount points and devices were made in it."""
    steps: list[op.Operation] = []
    for index, mount in enumerate(spec.mounts):
        options = parse_options(mount.options)
        if index not in supplied.mounts and mount.type in ("tmpfs", "cgroup") and options.readonly and not options.bind:
            steps.append(op.MakeMountReadonly(destination=destination(mount)))
    return steps


def destination(mount: Mount) -> str:
    """A relative destination is relative to / (deprecated since 1.2)."""
    return posixpath.normpath("/" + mount.destination.lstrip("/"))


def _plan_mount(
    index: int, mount: Mount, spec: Spec, namespaces: NamespacePlan, host: Host, supplied: Supplied
) -> Iterator[op.Operation]:
    where = f"mounts[{index}]"
    target = destination(mount)
    options = parse_options(mount.options)
    bind = options.bind or mount.type == "bind"
    _check_target(where, target, mount, bind)
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        raise SpecError(where, "needs both or none of uidMappings and gidMappings")
    if index in supplied.mounts:
        yield op.MountDescriptor(destination=target, index=index, options=options)
    elif options.remount:
        yield op.Remount(destination=target, options=options)
    elif bind:
        yield _plan_bind(index, mount, options, spec, namespaces, supplied)
    elif mount.type in ("cgroup", "cgroup2"):
        yield from _plan_cgroup(target, options, namespaces, host, mount_label(spec, host))
    elif not mount.type:
        raise SpecError(f"{where}.type", "is required for a mount that is not a bind mount")
    else:
        if mount.uid_mappings or options.idmap:
            raise SpecError(where, "id mappings are for bind mounts only")
        if mount.type == "tmpfs":
            options = _writable(options)
        label = mount_label(spec, host)
        yield op.MountFilesystem(
            destination=target,
            fstype=mount.type,
            source=mount.source or mount.type,
            options=_labelled(options, label) if mount.type in _LABELLED else options,
            label=_without_categories(label) if mount.type == _LABELLED_AFTERWARDS else "",
        )


def mount_label(spec: Spec, host: Host) -> str:
    """What the container's own files are labelled with; "" without SELinux."""
    return (spec.linux.mount_label or "") if "selinux" in host.lsm else ""


def _without_categories(label: str) -> str:
    """user:role:type:s0 of user:role:type:s0:c1,c2, or of a range that begins so."""
    names, level = label.split(":")[:3], label.split(":")[3:4]
    return ":".join((*names, *(one.partition("-")[0] for one in level)))


def _labelled(options: MountOptions, label: str) -> MountOptions:
    """Without quotes: fsconfig takes the value as it is, commas and all."""
    return replace(options, data=(*options.data, f"context={label}")) if label else options


def _check_target(where: str, target: str, mount: Mount, bind: bool) -> None:
    if target == "/":
        if bind:
            return
        raise SpecError(f"{where}.destination", "cannot be the root filesystem itself")
    if target == "/proc":
        if mount.type not in ("proc", None) and not bind:
            raise SpecError(where, f"only proc may be mounted on /proc, not {mount.type}")
    elif target.startswith("/proc/") and target not in _ALLOWED_BELOW_PROC and mount.type != "binfmt_misc":
        raise SpecError(f"{where}.destination", f"{target!r} is inside /proc, where nothing may be mounted")


def _plan_bind(
    index: int, mount: Mount, options: MountOptions, spec: Spec, namespaces: NamespacePlan, supplied: Supplied
) -> op.MountBind:
    where = f"mounts[{index}]"
    if not mount.source:
        raise SpecError(f"{where}.source", "is required for a bind mount")
    uid_mappings, gid_mappings = mount.uid_mappings, mount.gid_mappings
    if options.idmap and not uid_mappings:
        # An idmap option without mappings means those of the container's user namespace.
        uid_mappings, gid_mappings = spec.linux.uid_mappings, spec.linux.gid_mappings
        if not uid_mappings:
            raise SpecError(where, "option idmap needs mappings or a user namespace")
    if mount.type == "bind" and not options.bind:
        options = replace(options, bind=True)
    return op.MountBind(
        destination=destination(mount),
        source=posixpath.join(supplied.bundle, mount.source),
        options=options,
        default_propagation=_default_propagation(spec),
        uid_mappings=uid_mappings,
        gid_mappings=gid_mappings,
        index=index,
    )


def _default_propagation(spec: Spec) -> tuple[int, bool]:
    """What mounts get that name no propagation: as the whole tree does, and never back into the host by default."""
    flag, recursive = PROPAGATION.get(spec.linux.rootfs_propagation or "rslave", (sc.MS_SLAVE, True))
    return (sc.MS_SLAVE, True) if flag == sc.MS_UNBINDABLE else (flag, recursive)


def _plan_cgroup(
    target: str, options: MountOptions, namespaces: NamespacePlan, host: Host, label: str
) -> Iterator[op.Operation]:
    private = "cgroup" in namespaces.new
    v1 = [hierarchy for hierarchy in host.cgroups if hierarchy.version == 1]
    if not v1:
        yield _plan_cgroup2(target, options, host, private=private)
        return
    tmpfs = _labelled(_V1_TMPFS, label)
    yield op.MountFilesystem(destination=target, fstype="tmpfs", source="cgroup", options=tmpfs)
    options = replace(options, data=(), propagation=())
    for hierarchy in host.cgroups:
        yield _plan_hierarchy(f"{target}/{hierarchy.name}", hierarchy, options, private=private)
        for controller in hierarchy.name.split(","):
            if controller != hierarchy.name:
                yield op.MakeSymlink(path=f"{target}/{controller}", target=hierarchy.name)


def _plan_cgroup2(target: str, options: MountOptions, host: Host, *, private: bool) -> op.Operation:
    if private or not host.cgroups:
        return op.MountFilesystem(destination=target, fstype="cgroup2", source="cgroup", options=options)
    # Mounting cgroup2 in the host's own cgroup namespace would reset its mount options (nsdelegate) for the host.
    return op.MountBind(
        destination=target,
        source=host.cgroups[0].directory,
        options=replace(options, data=()),
        default_propagation=(sc.MS_SLAVE, True),
    )


def _plan_hierarchy(target: str, hierarchy: CgroupHierarchy, options: MountOptions, *, private: bool) -> op.Operation:
    if not private:
        return op.MountBind(
            destination=target,
            source=hierarchy.directory,
            options=options,
            default_propagation=(sc.MS_SLAVE, True),
        )
    if hierarchy.version == 1:
        options = replace(options, data=(hierarchy.controllers,))
    fstype = "cgroup" if hierarchy.version == 1 else "cgroup2"
    return op.MountFilesystem(destination=target, fstype=fstype, source="cgroup", options=options)


def _writable(options: MountOptions) -> MountOptions:
    return replace(options, set=options.set & ~sc.MOUNT_ATTR_RDONLY)
