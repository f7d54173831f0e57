"""An adjustment applied to a runtime-spec: values in, values out. What cannot be done raises; nothing is left out.

Removals come before additions, whatever their order in the message.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from cri.errors import InvalidArgument
from cri.nri.api import nri_pb2 as nri
from cri.nri.collected import removal
from cri.nri.resources import adjusted_resources
from oci import spec

#: Adds the devices of these CDI names to a spec; raises when one is not known.
InjectCdi = Callable[[spec.Spec, Sequence[str]], spec.Spec]


def apply(base: spec.Spec, wanted: nri.ContainerAdjustment, inject_cdi: InjectCdi | None = None) -> spec.Spec:
    """Raises InvalidArgument naming what of the adjustment cannot be done here."""
    result = base
    if wanted.CDI_devices:
        names = [device.name for device in wanted.CDI_devices]
        if inject_cdi is None:
            raise InvalidArgument("adjust.CDI_devices", f"{', '.join(names)}: this runtime has no CDI devices")
        result = inject_cdi(result, names)
    linux = _linux(result.linux, wanted.linux)
    mounts = _mounts(result.mounts, wanted.mounts)
    if wanted.mounts:
        linux = replace(linux, rootfs_propagation=_propagation(linux.rootfs_propagation, wanted.mounts))
    return replace(
        result,
        annotations=_texts(result.annotations, wanted.annotations),
        mounts=mounts,
        hooks=_hooks(result.hooks, wanted.hooks) if wanted.HasField("hooks") else result.hooks,
        process=None if result.process is None else _process(result.process, wanted),
        linux=linux,
    )


def _texts(ours: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    removed = {name for name, marked in map(removal, wanted) if marked}
    kept = {name: value for name, value in ours.items() if name not in removed}
    return kept | {name: value for name, value in wanted.items() if not removal(name)[1]}


# --- the process ------------------------------------------------------------------------------------------------------


def _process(process: spec.Process, wanted: nri.ContainerAdjustment) -> spec.Process:
    linux = wanted.linux
    return replace(
        process,
        args=tuple(wanted.args) or process.args,
        env=_env(process.env, wanted.env),
        rlimits=_rlimits(process.rlimits, wanted.rlimits),
        oom_score_adj=linux.oom_score_adj.value if linux.HasField("oom_score_adj") else process.oom_score_adj,
        io_priority=_io_priority(linux.io_priority) if linux.HasField("io_priority") else process.io_priority,
        scheduler=_scheduler(linux.scheduler) if linux.HasField("scheduler") else process.scheduler,
    )


def _env(ours: tuple[str, ...], wanted: Sequence[nri.KeyValue]) -> tuple[str, ...]:
    """A variable that exists keeps its place."""
    result = {entry.partition("=")[0]: entry for entry in ours}
    for pair in wanted:
        name, marked = removal(pair.key)
        if marked:
            result.pop(name, None)
    for pair in wanted:
        name, marked = removal(pair.key)
        if marked:
            continue
        if not name or "=" in name or "\0" in name + pair.value:
            raise InvalidArgument("adjust.env", f"{name!r} is not the name of an environment variable")
        result[name] = f"{name}={pair.value}"
    return tuple(result.values())


def _rlimits(ours: tuple[spec.Rlimit, ...], wanted: Iterable[nri.POSIXRlimit]) -> tuple[spec.Rlimit, ...]:
    limits = {limit.type: limit for limit in ours}
    limits |= {limit.type: spec.Rlimit(type=limit.type, hard=limit.hard, soft=limit.soft) for limit in wanted}
    return tuple(limits.values())


def _io_priority(wanted: nri.LinuxIOPriority) -> spec.IOPriority:
    return spec.IOPriority(
        class_=_name(nri.IOPrioClass, getattr(wanted, "class"), "adjust.linux.io_priority.class"),
        priority=wanted.priority,
    )


def _scheduler(wanted: nri.LinuxScheduler) -> spec.Scheduler:
    field = "adjust.linux.scheduler"
    deadlines = {name: getattr(wanted, name) for name in ("runtime", "deadline", "period") if getattr(wanted, name)}
    return spec.Scheduler(
        policy=_name(nri.LinuxSchedulerPolicy, wanted.policy, f"{field}.policy"),
        nice=wanted.nice,
        priority=wanted.priority,
        flags=tuple(_name(nri.LinuxSchedulerFlag, flag, f"{field}.flags") for flag in wanted.flags),
        **deadlines,
    )


# --- mounts and hooks -------------------------------------------------------------------------------------------------


def _mounts(ours: tuple[spec.Mount, ...], wanted: Sequence[nri.Mount]) -> tuple[spec.Mount, ...]:
    """Sorted by depth when anything was asked for, so that no mount is hidden by a later one above it."""
    if not wanted:
        return ours
    gone = {posixpath.normpath(removal(mount.destination)[0]) for mount in wanted}
    added = {}
    for mount in wanted:
        path, marked = removal(mount.destination)
        if marked:
            continue
        if not path.startswith("/"):
            raise InvalidArgument("adjust.mounts.destination", f"{path!r} is not an absolute path")
        added[posixpath.normpath(path)] = spec.Mount(
            destination=path,
            type=mount.type or None,
            source=mount.source or None,
            # Asks for an SELinux label on the source, which is the plugin's own to give.
            options=tuple(option for option in mount.options if option != "relabel"),
        )
    kept = [mount for mount in ours if posixpath.normpath(mount.destination) not in gone]
    return tuple(sorted([*kept, *added.values()], key=lambda mount: _depth(mount.destination)))


def _depth(path: str) -> int:
    return len([part for part in path.split("/") if part])


def _propagation(ours: str | None, wanted: Iterable[nri.Mount]) -> str | None:
    """A bidirectional mount needs a shared root, a host-to-container one at least a slave."""
    options = {option.lstrip("r") for mount in wanted if not removal(mount.destination)[1] for option in mount.options}
    if "shared" in options:
        return "rshared"
    if "slave" in options and ours not in ("shared", "rshared", "slave", "rslave"):
        return "rslave"
    return ours


def _hooks(ours: spec.Hooks | None, wanted: nri.Hooks) -> spec.Hooks:
    ours = ours or spec.Hooks()
    return spec.Hooks(
        prestart=(*ours.prestart, *map(_hook, wanted.prestart)),
        create_runtime=(*ours.create_runtime, *map(_hook, wanted.create_runtime)),
        create_container=(*ours.create_container, *map(_hook, wanted.create_container)),
        start_container=(*ours.start_container, *map(_hook, wanted.start_container)),
        poststart=(*ours.poststart, *map(_hook, wanted.poststart)),
        poststop=(*ours.poststop, *map(_hook, wanted.poststop)),
    )


def _hook(wanted: nri.Hook) -> spec.Hook:
    if not wanted.path.startswith("/"):
        raise InvalidArgument("adjust.hooks.path", f"{wanted.path!r} is not an absolute path")
    return spec.Hook(
        path=wanted.path,
        args=tuple(wanted.args),
        env=tuple(wanted.env),
        timeout=wanted.timeout.value if wanted.HasField("timeout") else None,
    )


# --- linux ------------------------------------------------------------------------------------------------------------


def _linux(linux: spec.Linux, wanted: nri.LinuxContainerAdjustment) -> spec.Linux:
    devices, rules = _devices(linux.devices, wanted.devices)
    resources = linux.resources or spec.Resources()
    if rules:
        resources = replace(resources, devices=(*resources.devices, *rules))
    if wanted.HasField("resources"):
        resources = adjusted_resources(resources, wanted.resources)
    unchanged = linux.resources is None and resources == spec.Resources()
    return replace(
        linux,
        devices=devices,
        resources=None if unchanged else resources,
        cgroups_path=_cgroups_path(wanted.cgroups_path) or linux.cgroups_path,
        namespaces=_namespaces(linux.namespaces, wanted.namespaces),
        sysctl=_texts(linux.sysctl, wanted.sysctl),
        seccomp=_seccomp(wanted.seccomp_policy) if wanted.HasField("seccomp_policy") else linux.seccomp,
        net_devices=_net_devices(linux.net_devices, wanted.net_devices),
        intel_rdt=_rdt(linux.intel_rdt, wanted.rdt) if wanted.HasField("rdt") else linux.intel_rdt,
        memory_policy=(
            _memory_policy(wanted.memory_policy) if wanted.HasField("memory_policy") else linux.memory_policy
        ),
    )


def _cgroups_path(path: str) -> str:
    if path and (not path.startswith("/") or ".." in path.split("/") or "\0" in path):
        raise InvalidArgument("adjust.linux.cgroups_path", f"{path!r} is not an absolute cgroup path")
    return path


def _devices(
    ours: tuple[spec.Device, ...], wanted: Sequence[nri.LinuxDevice]
) -> tuple[tuple[spec.Device, ...], tuple[spec.DeviceRule, ...]]:
    gone = {removal(device.path)[0] for device in wanted}
    added = [device for device in wanted if not removal(device.path)[1]]
    devices = {
        device.path: spec.Device(
            path=device.path,
            type=device.type,
            major=device.major,
            minor=device.minor,
            file_mode=device.file_mode.value if device.HasField("file_mode") else None,
            uid=device.uid.value if device.HasField("uid") else None,
            gid=device.gid.value if device.HasField("gid") else None,
        )
        for device in added
    }
    rules = tuple(
        spec.DeviceRule(
            allow=True, type=device.type, major=device.major, minor=device.minor, access=_device_access(device)
        )
        for device in added
    )
    return (*(device for device in ours if device.path not in gone), *devices.values()), rules


def _device_access(device: nri.LinuxDevice) -> str:
    """What the node's permissions allow anybody; making the node is always part of it."""
    mode = device.file_mode.value if device.HasField("file_mode") else 0o666
    return ("r" if mode & 0o444 else "") + ("w" if mode & 0o222 else "") + "m"


def _namespaces(ours: tuple[spec.Namespace, ...], wanted: Sequence[nri.LinuxNamespace]) -> tuple[spec.Namespace, ...]:
    result = {namespace.type: namespace for namespace in ours}
    for namespace in wanted:
        result.pop(removal(namespace.type)[0], None)
    for namespace in wanted:
        if not removal(namespace.type)[1]:
            result[namespace.type] = spec.Namespace(type=namespace.type, path=namespace.path or None)
    return tuple(result.values())


def _net_devices(
    ours: Mapping[str, spec.NetDevice], wanted: Mapping[str, nri.LinuxNetDevice]
) -> dict[str, spec.NetDevice]:
    gone = {name for name, marked in map(removal, wanted) if marked}
    kept = {name: device for name, device in ours.items() if name not in gone}
    added = {name: spec.NetDevice(name=device.name or None) for name, device in wanted.items()}
    return kept | {name: device for name, device in added.items() if not removal(name)[1]}


def _seccomp(wanted: nri.LinuxSeccomp) -> spec.Seccomp:
    return spec.Seccomp(
        default_action=wanted.default_action,
        default_errno_ret=wanted.default_errno.value if wanted.HasField("default_errno") else None,
        architectures=tuple(wanted.architectures),
        flags=tuple(wanted.flags),
        listener_path=wanted.listener_path or None,
        listener_metadata=wanted.listener_metadata or None,
        syscalls=tuple(
            spec.SeccompSyscall(
                names=tuple(call.names),
                action=call.action,
                errno_ret=call.errno_ret.value if call.HasField("errno_ret") else None,
                args=tuple(
                    spec.SeccompArg(index=arg.index, value=arg.value, value_two=arg.value_two, op=arg.op)
                    for arg in call.args
                ),
            )
            for call in wanted.syscalls
        ),
    )


def _rdt(ours: spec.IntelRdt | None, wanted: nri.LinuxRdt) -> spec.IntelRdt | None:
    result = spec.IntelRdt() if wanted.remove or ours is None else ours
    if wanted.HasField("clos_id"):
        result = replace(result, clos_id=wanted.clos_id.value)
    if wanted.HasField("schemata"):
        result = replace(result, schemata=tuple(wanted.schemata.value))
    if wanted.HasField("enable_monitoring"):
        result = replace(result, enable_monitoring=wanted.enable_monitoring.value)
    return None if result == spec.IntelRdt() else result


def _memory_policy(wanted: nri.LinuxMemoryPolicy) -> spec.MemoryPolicy:
    field = "adjust.linux.memory_policy"
    return spec.MemoryPolicy(
        mode=_name(nri.MpolMode, wanted.mode, f"{field}.mode"),
        nodes=wanted.nodes or None,
        flags=tuple(_name(nri.MpolFlag, flag, f"{field}.flags") for flag in wanted.flags),
    )


class _Enum(Protocol):
    """A protobuf enum."""

    def Name(self, number: Any, /) -> str: ...


def _name(kind: _Enum, number: int, field: str) -> str:
    """The constant's name, which is also the kernel's and the runtime-spec's."""
    try:
        return kind.Name(number)
    except ValueError:
        raise InvalidArgument(field, f"{number} is not known here") from None
