"""CPU, memory, huge pages, pids and device rules. Zero and empty in the CRI mean "not said"."""

from __future__ import annotations

from cri.api import runtime_pb2 as api
from cri.specgen.inputs import ContainerInputs, HostFacts
from oci import spec

#: What every container may do with device nodes: make any, use the harmless ones (oci.md 4.3).
DEFAULT_DEVICE_RULES = (
    spec.DeviceRule(allow=False, access="rwm"),
    spec.DeviceRule(allow=True, type="c", access="m"),
    spec.DeviceRule(allow=True, type="b", access="m"),
    *(
        spec.DeviceRule(allow=True, type="c", major=major, minor=minor, access="rwm")
        for major, minor in (
            (1, 3), (1, 5), (1, 7), (1, 8), (1, 9),  # null zero full random urandom
            (5, 0), (5, 1), (5, 2),  # tty console ptmx
            (136, None),  # pts
        )
    ),
)  # fmt: skip


def container_resources(inputs: ContainerInputs) -> spec.Resources:
    if inputs.config.linux.security_context.privileged:
        devices: tuple[spec.DeviceRule, ...] = (spec.DeviceRule(allow=True, access="rwm"),)
    else:
        devices = (*DEFAULT_DEVICE_RULES, *inputs.device_rules)
    wanted = linux_resources(inputs.config.linux.resources, inputs.host)
    return spec.Resources(
        devices=devices,
        memory=wanted.memory,
        cpu=wanted.cpu,
        hugepage_limits=wanted.hugepage_limits,
        unified=wanted.unified,
        pids=spec.PidsResources(limit=inputs.pids_limit) if inputs.pids_limit else None,
    )


def linux_resources(wanted: api.LinuxContainerResources, host: HostFacts) -> spec.Resources:
    """Only what `wanted` says, so that it also serves updates: absent means unchanged."""
    memory = cpu = None
    if wanted.memory_limit_in_bytes or wanted.memory_swap_limit_in_bytes:
        memory = spec.MemoryResources(
            limit=wanted.memory_limit_in_bytes or None,
            swap=wanted.memory_swap_limit_in_bytes or None,
        )
    if wanted.cpu_period or wanted.cpu_quota or wanted.cpu_shares or wanted.cpuset_cpus or wanted.cpuset_mems:
        cpu = spec.CpuResources(
            shares=wanted.cpu_shares or None,
            quota=wanted.cpu_quota or None,
            period=wanted.cpu_period or None,
            cpus=wanted.cpuset_cpus or None,
            mems=wanted.cpuset_mems or None,
        )
    return spec.Resources(
        memory=memory,
        cpu=cpu,
        # The kubelet names every page size of the host, 0 for those not asked for: 0 is a limit, and meant. On a host
        # that cannot limit them only real wishes are refused.
        hugepage_limits=tuple(
            spec.HugepageLimit(page_size=h.page_size, limit=h.limit)
            for h in wanted.hugepage_limits
            if h.limit or host.hugetlb
        ),
        unified=dict(wanted.unified) if host.cgroup_v2 else {},
    )
