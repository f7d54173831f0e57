"""spec.Resources as settings for cgroup v2, in an order that the kernel accepts at every step. Pure.

Device rules are in `oci.cgroups.devices`. What v2 has no counterpart for is refused by name, not dropped.
"""

from __future__ import annotations

from oci.cgroups.limits import (
    UNLIMITED,
    Setting,
    block_weight_to_io,
    cpu_max,
    is_set,
    setting,
    shares_to_weight,
    size,
    swap_only,
)
from oci.cgroups.limits_v1 import rdma
from oci.errors import SpecError
from oci.spec import BlockIOResources, CpuResources, MemoryResources, Resources
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@frozen
class Current:
    """What is set now; the defaults are those of a new cgroup."""

    memory_usage: int = 0
    quota: int = UNLIMITED
    burst: int = 0


def settings(resources: Resources, current: Current) -> tuple[Setting, ...]:
    return tuple(_all(resources, current))


def _all(resources: Resources, current: Current) -> Iterator[Setting]:
    if resources.cpu is not None:
        yield from _cpu(resources.cpu, current)
    if resources.memory is not None:
        yield from _memory(resources.memory, current)
    if resources.pids is not None and resources.pids.limit is not None:
        yield setting("pids", "pids.max", size(resources.pids.limit))
    if resources.block_io is not None:
        yield from _block_io(resources.block_io)
    for hugepages in resources.hugepage_limits:
        prefix = f"hugetlb.{hugepages.page_size}"
        yield setting("hugetlb", f"{prefix}.rsvd.max", hugepages.limit, optional=True)
        yield setting("hugetlb", f"{prefix}.max", hugepages.limit)
    if resources.network is not None and (resources.network.class_id is not None or resources.network.priorities):
        raise _only_v1("network")
    yield from rdma(resources)
    for key, value in resources.unified.items():  # last: the explicit word wins over what was converted
        yield from _unified(key, value)


def _only_v1(field: str) -> SpecError:
    return SpecError(f"linux.resources.{field}", "this host has cgroup v2, which has no such setting")


def _cpu(cpu: CpuResources, current: Current) -> Iterator[Setting]:
    if is_set(cpu.realtime_period) or is_set(cpu.realtime_runtime):
        raise _only_v1("cpu.realtimeRuntime")
    if cpu.cpus:
        yield setting("cpuset", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        yield setting("cpuset", "cpuset.mems", cpu.mems)
    if cpu.idle is not None:
        yield setting("cpu", "cpu.idle", cpu.idle)
    if cpu.shares is not None and cpu.shares and not cpu.idle:  # the kernel refuses a weight for an idle group
        yield setting("cpu", "cpu.weight", shares_to_weight(cpu.shares))
    if is_set(cpu.quota) or is_set(cpu.period):
        if current.burst:  # a burst above the new quota would be refused
            yield setting("cpu", "cpu.max.burst", 0)
        yield setting("cpu", "cpu.max", cpu_max(cpu.quota, cpu.period, current.quota))
    if cpu.burst is not None:
        yield setting("cpu", "cpu.max.burst", cpu.burst)


def _memory(memory: MemoryResources, current: Current) -> Iterator[Setting]:
    for field, value in (("kernel", memory.kernel), ("kernelTCP", memory.kernel_tcp)):
        if is_set(value):
            raise _only_v1(f"memory.{field}")
    if memory.swappiness is not None:
        raise _only_v1("memory.swappiness")
    if memory.disable_oom_killer:
        raise _only_v1("memory.disableOOMKiller")
    limit = memory.limit if is_set(memory.limit) else None
    if memory.check_before_update and limit is not None and 0 < limit < current.memory_usage:
        problem = f"{limit} is below the present usage of {current.memory_usage} bytes"
        raise SpecError("linux.resources.memory.limit", problem)
    swap = swap_only(memory.limit, memory.swap)
    if swap is not None:  # missing when the kernel does not account swap; then there is none to limit
        yield setting("memory", "memory.swap.max", swap, optional=swap in ("0", "max"))
    if limit is not None:
        yield setting("memory", "memory.max", size(limit))
    if memory.reservation is not None and memory.reservation:
        yield setting("memory", "memory.low", size(memory.reservation))


def _block_io(block: BlockIOResources) -> Iterator[Setting]:
    if is_set(block.leaf_weight):
        raise _only_v1("blockIO.leafWeight")
    if block.weight is not None and block.weight:
        bfq, weight = ("io.bfq.weight", str(block.weight)), ("io.weight", str(block_weight_to_io(block.weight)))
        yield Setting(controller="io", choices=(bfq, weight))
    for device in block.weight_device:
        if device.leaf_weight is not None:
            raise _only_v1("blockIO.weightDevice.leafWeight")
        if device.weight is not None:
            number = f"{device.major}:{device.minor}"
            bfq = ("io.bfq.weight", f"{number} {device.weight}")
            weight = ("io.weight", f"{number} {block_weight_to_io(device.weight)}")
            yield Setting(controller="io", choices=(bfq, weight))
    for key, throttles in (
        ("rbps", block.throttle_read_bps_device),
        ("wbps", block.throttle_write_bps_device),
        ("riops", block.throttle_read_iops_device),
        ("wiops", block.throttle_write_iops_device),
    ):
        for entry in throttles:
            yield setting("io", "io.max", f"{entry.major}:{entry.minor} {key}={entry.rate or 'max'}")


def _is_control_file(key: str) -> bool:
    """ "memory.max", "io.bfq.weight": nothing that could leave the directory."""
    controller, *names = key.split(".")
    lower = controller.replace("_", "a")
    if not (names and lower.isascii() and lower.isalnum() and lower == lower.lower()):
        return False
    return all(name.replace("_", "a").isascii() and name.replace("_", "a").isalnum() for name in names)


def _unified(key: str, value: str) -> Iterator[Setting]:
    """Keys that nobody here knows are written all the same (config-linux.md, "Unified"); values may hold lines."""
    if not _is_control_file(key):
        raise SpecError(f"linux.resources.unified[{key!r}]", "is not the name of a control file: "
                        f"the specified key has not the form CONTROLLER.VALUE `{key}`")  # fmt: skip
    controller = key.partition(".")[0]
    for line in value.splitlines() or [value]:
        yield setting(controller, key, line)
