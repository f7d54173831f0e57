"""spec.Resources as settings for cgroup v1, in an order that the kernel accepts at every step. Pure.

Device rules are in `oci.cgroups.devices`. The order traps, each with a test:

- memory.limit_in_bytes may never exceed memory.memsw.limit_in_bytes: raise the sum first, lower it last.
- quota and period are checked as a ratio against the parent at each write: between old and new there is no quota.
- cfs_burst_us may never exceed the quota.
"""

from __future__ import annotations

from oci.cgroups.limits import UNLIMITED, Setting, check_swap, is_set, setting
from oci.errors import SpecError
from oci.spec import BlockIOResources, CpuResources, MemoryResources, Resources
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@frozen
class Current:
    """What is set now; the defaults are those of a new cgroup."""

    memory_and_swap: int = UNLIMITED
    memory_usage: int = 0
    quota: int = UNLIMITED
    burst: int = 0


def settings(resources: Resources, current: Current) -> tuple[Setting, ...]:
    if resources.unified:
        raise SpecError("linux.resources.unified", "this host has cgroup v1, which knows no unified settings")
    return tuple(_all(resources, current))


def _all(resources: Resources, current: Current) -> Iterator[Setting]:
    if resources.cpu is not None:
        yield from _cpuset(resources.cpu)
        yield from _cpu(resources.cpu, current)
    if resources.memory is not None:
        yield from _memory(resources.memory, current)
    if resources.pids is not None and resources.pids.limit is not None:
        limit = resources.pids.limit
        yield setting("pids", "pids.max", "max" if limit < 0 else limit)
    if resources.block_io is not None:
        yield from _block_io(resources.block_io)
    for hugepages in resources.hugepage_limits:
        prefix = f"hugetlb.{hugepages.page_size}"
        yield setting("hugetlb", f"{prefix}.rsvd.limit_in_bytes", hugepages.limit, optional=True)
        yield setting("hugetlb", f"{prefix}.limit_in_bytes", hugepages.limit)
    if resources.network is not None:
        if resources.network.class_id is not None:
            yield setting("net_cls", "net_cls.classid", resources.network.class_id)
        for entry in resources.network.priorities:
            yield setting("net_prio", "net_prio.ifpriomap", f"{entry.name} {entry.priority}")
    yield from rdma(resources)


def _cpuset(cpu: CpuResources) -> Iterator[Setting]:
    if cpu.cpus:
        yield setting("cpuset", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        yield setting("cpuset", "cpuset.mems", cpu.mems)


def _cpu(cpu: CpuResources, current: Current) -> Iterator[Setting]:
    if cpu.idle is not None:
        yield setting("cpu", "cpu.idle", cpu.idle)
    if is_set(cpu.shares) and not cpu.idle:  # the kernel refuses shares for an idle group
        yield setting("cpu", "cpu.shares", cpu.shares)
    new_quota = cpu.quota if is_set(cpu.quota) else None
    if current.burst and (new_quota is not None or cpu.burst is not None):
        yield setting("cpu", "cpu.cfs_burst_us", 0)
    if is_set(cpu.period):
        if current.quota > 0 and new_quota is not None:
            yield setting("cpu", "cpu.cfs_quota_us", UNLIMITED)
        yield setting("cpu", "cpu.cfs_period_us", cpu.period)
    if new_quota is not None:
        yield setting("cpu", "cpu.cfs_quota_us", max(new_quota, UNLIMITED))
    if cpu.burst is not None:
        yield setting("cpu", "cpu.cfs_burst_us", cpu.burst)
    if is_set(cpu.realtime_period):
        yield setting("cpu", "cpu.rt_period_us", cpu.realtime_period)
    if is_set(cpu.realtime_runtime):
        yield setting("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime)


def _memory(memory: MemoryResources, current: Current) -> Iterator[Setting]:
    limit = memory.limit if is_set(memory.limit) else None
    total = memory.swap if is_set(memory.swap) else None
    check_swap(limit, total)
    if memory.check_before_update and limit is not None and 0 < limit < current.memory_usage:
        problem = f"{limit} is below the present usage of {current.memory_usage} bytes"
        raise SpecError("linux.resources.memory.limit", problem)
    limit_setting = setting("memory", "memory.limit_in_bytes", limit)
    total_setting = setting("memory", "memory.memsw.limit_in_bytes", total)
    if limit == UNLIMITED and total is None:  # no limit on the part means none on the sum
        total_setting = setting("memory", "memory.memsw.limit_in_bytes", UNLIMITED, optional=True)
        yield from (total_setting, limit_setting)
    elif limit is not None and total is not None:
        yield from (limit_setting, total_setting)[:: -1 if _raises(limit, current.memory_and_swap) else 1]
    elif limit is not None:
        yield limit_setting
    elif total is not None:
        yield total_setting
    if is_set(memory.reservation):
        yield setting("memory", "memory.soft_limit_in_bytes", memory.reservation)
    if is_set(memory.kernel):  # Linux >= 6.0 has no such limit; the specification calls it not recommended
        yield setting("memory", "memory.kmem.limit_in_bytes", memory.kernel, optional=True)
    if is_set(memory.kernel_tcp):
        yield setting("memory", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp)
    if memory.swappiness is not None:
        if memory.swappiness > 100:
            raise SpecError("linux.resources.memory.swappiness", f"{memory.swappiness} is not within 0 to 100")
        yield setting("memory", "memory.swappiness", memory.swappiness)
    if memory.disable_oom_killer is not None:
        yield setting("memory", "memory.oom_control", int(memory.disable_oom_killer))


def _raises(limit: int, current: int) -> bool:
    return current >= 0 and (limit < 0 or limit > current)


def _block_io(block: BlockIOResources) -> Iterator[Setting]:
    if is_set(block.weight):
        yield _either("weight", block.weight)
    if is_set(block.leaf_weight):
        yield _either("leaf_weight", block.leaf_weight)
    for device in block.weight_device:
        number = f"{device.major}:{device.minor}"
        if device.weight is not None:
            yield _either("weight_device", f"{number} {device.weight}")
        if device.leaf_weight is not None:
            yield _either("leaf_weight_device", f"{number} {device.leaf_weight}")
    for kind, throttles in (
        ("read_bps", block.throttle_read_bps_device),
        ("write_bps", block.throttle_write_bps_device),
        ("read_iops", block.throttle_read_iops_device),
        ("write_iops", block.throttle_write_iops_device),
    ):
        for entry in throttles:
            yield setting("blkio", f"blkio.throttle.{kind}_device", f"{entry.major}:{entry.minor} {entry.rate}")


def _either(name: str, value: object) -> Setting:
    """Under the CFQ scheduler's name, or under that of BFQ, its successor."""
    return Setting(controller="blkio", choices=((f"blkio.{name}", str(value)), (f"blkio.bfq.{name}", str(value))))


def rdma(resources: Resources) -> Iterator[Setting]:
    """The same file and format in both versions."""
    for device, limit in resources.rdma.items():
        words = [device]
        if limit.hca_handles is not None:
            words.append(f"hca_handle={limit.hca_handles}")
        if limit.hca_objects is not None:
            words.append(f"hca_object={limit.hca_objects}")
        yield setting("rdma", "rdma.max", " ".join(words))
