"""LinuxResources: what plugins ask for, what the CRI says, what the runtime-spec has, each from the others. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.nri.api import nri_pb2 as nri
from cri.nri.messages import copy, keep, optionals, present
from cri.nri.owners import Field, Key
from oci import spec

_MEMORY: Final[dict[str, Field]] = {
    "limit": nri.MemLimit,
    "reservation": nri.MemReservation,
    "swap": nri.MemSwapLimit,
    "kernel": nri.MemKernelLimit,
    "kernel_tcp": nri.MemTCPLimit,
    "swappiness": nri.MemSwappiness,
    "disable_oom_killer": nri.MemDisableOomKiller,
    "use_hierarchy": nri.MemUseHierarchy,
}
_CPU: Final[dict[str, Field]] = {
    "shares": nri.CPUShares,
    "quota": nri.CPUQuota,
    "period": nri.CPUPeriod,
    "realtime_runtime": nri.CPURealtimeRuntime,
    "realtime_period": nri.CPURealtimePeriod,
    "cpus": nri.CPUSetCPUs,
    "mems": nri.CPUSetMems,
}
_RESOURCES: Final[dict[str, Field]] = {
    "blockio_class": nri.BlockioClass,
    "rdt_class": nri.RdtClass,
    "pids": nri.PidsLimit,
}


def resource_keys(resources: nri.LinuxResources) -> list[Key]:
    """Everything that `resources` sets."""
    return [
        *((_MEMORY[name], "") for name in present(resources.memory, _MEMORY)),
        *((_CPU[name], "") for name in present(resources.cpu, _CPU)),
        *((_RESOURCES[name], "") for name in present(resources, _RESOURCES)),
        *((nri.HugepageLimits, limit.page_size) for limit in resources.hugepage_limits),
        *((nri.CgroupsUnified, name) for name in resources.unified),
    ]


def merge_resources(target: nri.LinuxResources, wanted: nri.LinuxResources) -> None:
    """Set in `target` what `wanted` sets, and leave the rest; but a swap limit follows the memory limit."""
    former = _limits(target.memory)
    copy(target.memory, wanted.memory, present(wanted.memory, _MEMORY))
    limit, swap = _limits(wanted.memory)
    if limit and swap is None and former[1] is not None:
        target.memory.swap.value = swap_beside(limit, *former)
    copy(target.cpu, wanted.cpu, present(wanted.cpu, _CPU))
    copy(target, wanted, present(wanted, _RESOURCES))
    sizes = {limit.page_size for limit in wanted.hugepage_limits}
    keep(target.hugepage_limits, lambda limit: limit.page_size not in sizes)
    target.hugepage_limits.extend(wanted.hugepage_limits)
    target.devices.extend(wanted.devices)
    for name in wanted.unified:
        target.unified[name] = wanted.unified[name]


def _limits(memory: nri.LinuxMemory) -> tuple[int | None, int | None]:
    return (
        memory.limit.value if memory.HasField("limit") else None,
        memory.swap.value if memory.HasField("swap") else None,
    )


def swap_beside(limit: int, former_limit: int | None, former_swap: int | None) -> int:
    """The swap limit, which counts the memory too, for a new memory limit: no swap stays no swap, and it is never
    below the memory limit, which no kernel takes."""
    if limit == -1 or former_swap is None or former_swap == former_limit:
        return limit
    return former_swap if former_swap == -1 else max(former_swap, limit)


# --- from elsewhere ----------------------------------------------------------------------------------------------


def from_spec(resources: spec.Resources) -> nri.LinuxResources:
    message = nri.LinuxResources(
        hugepage_limits=[nri.HugepageLimit(page_size=h.page_size, limit=h.limit) for h in resources.hugepage_limits],
        unified=resources.unified,
        devices=[_rule(rule) for rule in resources.devices],
    )
    if resources.memory is not None:
        message.memory.CopyFrom(optionals(nri.LinuxMemory(), resources.memory, _MEMORY))
    if resources.cpu is not None:
        message.cpu.CopyFrom(optionals(nri.LinuxCPU(), resources.cpu, _CPU))
    if resources.pids is not None and resources.pids.limit is not None:
        message.pids.limit = resources.pids.limit
    return message


def _rule(rule: spec.DeviceRule) -> nri.LinuxDeviceCgroup:
    message = nri.LinuxDeviceCgroup(allow=rule.allow, type=rule.type or "", access=rule.access or "")
    return optionals(message, rule, ("major", "minor"))


def from_cri(resources: api.LinuxContainerResources) -> nri.LinuxResources:
    """Zero and empty mean "not said" there."""
    message = nri.LinuxResources(
        hugepage_limits=[nri.HugepageLimit(page_size=h.page_size, limit=h.limit) for h in resources.hugepage_limits],
        unified=resources.unified,
    )
    if resources.memory_limit_in_bytes:
        message.memory.limit.value = resources.memory_limit_in_bytes
    if resources.memory_swap_limit_in_bytes:
        message.memory.swap.value = resources.memory_swap_limit_in_bytes
    if resources.cpu_shares:
        message.cpu.shares.value = resources.cpu_shares
    if resources.cpu_quota:
        message.cpu.quota.value = resources.cpu_quota
    if resources.cpu_period:
        message.cpu.period.value = resources.cpu_period
    if resources.cpuset_cpus or resources.cpuset_mems:
        message.cpu.cpus = resources.cpuset_cpus
        message.cpu.mems = resources.cpuset_mems
    return message


def to_cri(resources: nri.LinuxResources) -> api.LinuxContainerResources:
    """As much of it as the CRI can say: what ContainerStatus shows after a plugin's update."""
    return api.LinuxContainerResources(
        memory_limit_in_bytes=resources.memory.limit.value,
        memory_swap_limit_in_bytes=resources.memory.swap.value,
        cpu_shares=resources.cpu.shares.value,
        cpu_quota=resources.cpu.quota.value,
        cpu_period=resources.cpu.period.value,
        cpuset_cpus=resources.cpu.cpus,
        cpuset_mems=resources.cpu.mems,
        hugepage_limits=[api.HugepageLimit(page_size=h.page_size, limit=h.limit) for h in resources.hugepage_limits],
        unified=resources.unified,
    )


# --- to the runtime-spec -------------------------------------------------------------------------------------------


def adjusted_resources(ours: spec.Resources, wanted: nri.LinuxResources) -> spec.Resources:
    """`ours` with everything that `wanted` sets. Raises InvalidArgument."""
    for name in ("blockio_class", "rdt_class"):
        if wanted.HasField(name) and getattr(wanted, name).value:
            raise InvalidArgument(f"resources.{name}", f"{getattr(wanted, name).value!r} is not configured here")
    hugepages = {limit.page_size: limit for limit in ours.hugepage_limits}
    for limit in wanted.hugepage_limits:
        hugepages[limit.page_size] = spec.HugepageLimit(page_size=limit.page_size, limit=limit.limit)
    for name in wanted.unified:
        if "/" in name or name.startswith(".") or "." not in name:
            raise InvalidArgument("resources.unified", f"{name!r} is not the name of a cgroup file")
    return replace(
        ours,
        memory=_memory(ours.memory, wanted.memory) if wanted.HasField("memory") else ours.memory,
        cpu=_cpu(ours.cpu, wanted.cpu) if wanted.HasField("cpu") else ours.cpu,
        pids=spec.PidsResources(limit=wanted.pids.limit) if wanted.HasField("pids") else ours.pids,
        hugepage_limits=tuple(hugepages.values()),
        unified={**ours.unified, **wanted.unified},
        devices=(*ours.devices, *map(_to_rule, wanted.devices)),
    )


def _memory(ours: spec.MemoryResources | None, wanted: nri.LinuxMemory) -> spec.MemoryResources | None:
    result = ours or spec.MemoryResources()
    changes = _changes(wanted)
    if changes.get("limit") == 0:
        del changes["limit"]  # 0 is "none asked for", as in the CRI
    if "limit" in changes and "swap" not in changes:
        changes["swap"] = swap_beside(changes["limit"], result.limit, result.swap)
    result = replace(result, **changes)
    return None if result == spec.MemoryResources() else result


def _cpu(ours: spec.CpuResources | None, wanted: nri.LinuxCPU) -> spec.CpuResources | None:
    result = replace(ours or spec.CpuResources(), **_changes(wanted))
    result = replace(result, cpus=wanted.cpus or result.cpus, mems=wanted.mems or result.mems)
    return None if result == spec.CpuResources() else result


def _changes(message: nri.LinuxMemory | nri.LinuxCPU) -> dict[str, Any]:
    """The optional values that are there, by the names that they have in the runtime-spec as well."""
    return {field.name: value.value for field, value in message.ListFields() if field.message_type is not None}


def _to_rule(wanted: nri.LinuxDeviceCgroup) -> spec.DeviceRule:
    return spec.DeviceRule(
        allow=wanted.allow,
        type=wanted.type or None,
        major=wanted.major.value if wanted.HasField("major") else None,
        minor=wanted.minor.value if wanted.HasField("minor") else None,
        access=wanted.access or None,
    )
