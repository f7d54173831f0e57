"""Resources as settings: the conversions, and the order in which a kernel accepts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.cgroups import limits, limits_v1, limits_v2
from oci.cgroups.limits import Setting
from oci.errors import SpecError
from oci.spec import (
    BlockIOResources,
    CpuResources,
    HugepageLimit,
    MemoryResources,
    NetworkResources,
    PidsResources,
    RdmaLimit,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

GIB = 1 << 30


def v1(resources: Resources, **current: int) -> list[tuple[str, str]]:
    return _first_choices(limits_v1.settings(resources, limits_v1.Current(**current)))


def v2(resources: Resources, **current: int) -> list[tuple[str, str]]:
    return _first_choices(limits_v2.settings(resources, limits_v2.Current(**current)))


def _first_choices(settings: tuple[Setting, ...]) -> list[tuple[str, str]]:
    return [setting.choices[0] for setting in settings]


def memory(limit: int | None = None, swap: int | None = None) -> Resources:
    return Resources(memory=MemoryResources(limit=limit, swap=swap))


@pytest.mark.parametrize(("shares", "weight"), [(0, 1), (2, 1), (1024, 100), (262144, 10_000), (1 << 40, 10_000)])
def test_shares_and_weight_meet_at_both_ends_and_at_the_default(shares: int, weight: int) -> None:
    assert limits.shares_to_weight(shares) == weight


@given(st.integers(2, 262143))
def test_weight_grows_with_shares_and_stays_in_range(shares: int) -> None:
    assert 1 <= limits.shares_to_weight(shares) <= limits.shares_to_weight(shares + 1) <= 10_000


@given(st.integers(1, 10_000))
def test_shares_of_a_weight_lead_back_to_it(weight: int) -> None:
    assert limits.shares_to_weight(limits.weight_to_shares(weight)) >= weight


@given(st.integers(10, 1000))
def test_block_weights_stay_in_range(weight: int) -> None:
    assert 1 <= limits.block_weight_to_io(weight) <= 10_000


@given(st.none() | st.integers(-1, 1 << 40), st.none() | st.integers(0, 1_000_000), st.integers(-1, 1 << 40))
def test_cpu_max_is_always_a_line_the_kernel_takes(quota: int | None, period: int | None, current: int) -> None:
    amount, *rest = limits.cpu_max(quota, period, current).split()
    assert amount == "max" or int(amount) >= 0
    assert rest == ([str(period)] if period else [])


def test_cpu_max_keeps_what_is_not_set() -> None:
    assert limits.cpu_max(50_000, None) == "50000"
    assert limits.cpu_max(None, 20_000, 50_000) == "50000 20000"
    assert limits.cpu_max(-1, 20_000, 50_000) == "max 20000"


class TestMemoryV1:
    LIMIT, TOTAL = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"

    def names(self, resources: Resources, **current: int) -> list[str]:
        return [name for name, _ in v1(resources, **current)]

    def test_a_new_cgroup_takes_the_part_first(self) -> None:
        assert self.names(memory(GIB, GIB)) == [self.LIMIT, self.TOTAL]

    def test_raising_takes_the_sum_first(self) -> None:
        assert self.names(memory(2 * GIB, 2 * GIB), memory_and_swap=GIB) == [self.TOTAL, self.LIMIT]

    def test_lowering_takes_the_part_first(self) -> None:
        assert self.names(memory(GIB, GIB), memory_and_swap=2 * GIB) == [self.LIMIT, self.TOTAL]

    def test_lifting_the_limit_lifts_the_sum_as_well(self) -> None:
        assert v1(memory(-1), memory_and_swap=GIB) == [(self.TOTAL, "-1"), (self.LIMIT, "-1")]

    @given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9), st.integers(0, 9))
    def test_no_order_ever_breaks_the_kernels_rule(self, old: int, old_swap: int, new: int, new_swap: int) -> None:
        now = {self.LIMIT: old, self.TOTAL: old + old_swap}
        for name, value in v1(memory(new, new + new_swap), memory_and_swap=old + old_swap):
            now[name] = int(value)
            assert now[self.LIMIT] <= now[self.TOTAL]

    def test_a_check_before_update_refuses_what_would_kill(self) -> None:
        resources = Resources(memory=MemoryResources(limit=100, check_before_update=True))
        with pytest.raises(SpecError, match="present usage of 200"):
            v1(resources, memory_usage=200)
        assert v1(resources, memory_usage=50) == [(self.LIMIT, "100")]


def test_swap_of_v2_is_without_memory() -> None:
    assert v2(memory(GIB, 3 * GIB)) == [("memory.swap.max", str(2 * GIB)), ("memory.max", str(GIB))]
    assert v2(memory(GIB, GIB))[0] == ("memory.swap.max", "0")
    assert v2(memory(GIB, -1))[0] == ("memory.swap.max", "max")
    assert v2(memory(-1)) == [("memory.swap.max", "max"), ("memory.max", "max")]
    assert v2(memory(GIB)) == [("memory.max", str(GIB))]


@pytest.mark.parametrize("make", [v1, v2])
def test_swap_below_memory_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(SpecError, match="below the memory limit"):
        make(memory(GIB, GIB // 2))


def test_swap_of_v2_needs_a_memory_limit() -> None:
    with pytest.raises(SpecError, match="needs a memory limit"):
        v2(memory(None, GIB))


def test_zero_means_not_set_for_memory_and_cpu_but_not_for_processes() -> None:
    nothing = Resources(
        memory=MemoryResources(limit=0, swap=0, reservation=0), cpu=CpuResources(shares=0, quota=0, period=0)
    )
    assert v1(nothing) == v2(nothing) == []
    assert (
        v1(Resources(pids=PidsResources(limit=0))) == v2(Resources(pids=PidsResources(limit=0))) == [("pids.max", "0")]
    )
    assert v1(Resources(pids=PidsResources(limit=-1))) == [("pids.max", "max")]


def test_a_quota_and_its_period_pass_through_no_quota_on_v1() -> None:
    cpu = Resources(cpu=CpuResources(quota=10, period=20, burst=5))
    assert v1(cpu, quota=50, burst=7) == [
        ("cpu.cfs_burst_us", "0"),
        ("cpu.cfs_quota_us", "-1"),
        ("cpu.cfs_period_us", "20"),
        ("cpu.cfs_quota_us", "10"),
        ("cpu.cfs_burst_us", "5"),
    ]
    assert v2(cpu, quota=50, burst=7) == [("cpu.max.burst", "0"), ("cpu.max", "10 20"), ("cpu.max.burst", "5")]


def test_an_idle_group_gets_no_weight() -> None:
    idle = Resources(cpu=CpuResources(shares=1024, idle=1))
    assert v1(idle) == v2(idle) == [("cpu.idle", "1")]


def test_block_io() -> None:
    resources = Resources(
        block_io=BlockIOResources(
            weight=10,
            weight_device=(WeightDevice(major=8, minor=0, weight=1000),),
            throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=100),),
            throttle_write_iops_device=(ThrottleDevice(major=8, minor=16, rate=0),),
        )
    )
    assert [setting.choices for setting in limits_v2.settings(resources, limits_v2.Current())] == [
        (("io.bfq.weight", "10"), ("io.weight", "1")),
        (("io.bfq.weight", "8:0 1000"), ("io.weight", "8:0 10000")),
        (("io.max", "8:0 rbps=100"),),
        (("io.max", "8:16 wiops=max"),),
    ]
    assert [setting.choices for setting in limits_v1.settings(resources, limits_v1.Current())] == [
        (("blkio.weight", "10"), ("blkio.bfq.weight", "10")),
        (("blkio.weight_device", "8:0 1000"), ("blkio.bfq.weight_device", "8:0 1000")),
        (("blkio.throttle.read_bps_device", "8:0 100"),),
        (("blkio.throttle.write_iops_device", "8:16 0"),),
    ]


def test_huge_pages_are_limited_when_reserved_and_when_used() -> None:
    resources = Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4),))
    (reserved, used) = limits_v2.settings(resources, limits_v2.Current())
    assert (reserved.choices, reserved.optional) == ((("hugetlb.2MB.rsvd.max", "4"),), True)
    assert (used.choices, used.optional) == ((("hugetlb.2MB.max", "4"),), False)
    assert v1(resources)[1] == ("hugetlb.2MB.limit_in_bytes", "4")


def test_network_and_rdma() -> None:
    network = Resources(network=NetworkResources(class_id=0x10001), rdma={"mlx5_0": RdmaLimit(hca_handles=3)})
    assert v1(network) == [("net_cls.classid", "65537"), ("rdma.max", "mlx5_0 hca_handle=3")]
    with pytest.raises(SpecError, match="network"):
        v2(network)


def test_unified_keys_are_written_also_when_unknown_and_win() -> None:
    resources = Resources(
        memory=MemoryResources(limit=GIB),
        unified={"memory.max": "5", "new.thing": "a b", "io.max": "8:0 rbps=1\n8:1 rbps=2"},
    )
    assert v2(resources) == [
        ("memory.max", str(GIB)),
        ("memory.max", "5"),
        ("new.thing", "a b"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:1 rbps=2"),
    ]
    with pytest.raises(SpecError, match="unified"):
        v1(resources)


@pytest.mark.parametrize("key", ["../x.y", "memory", "a/b.c", "", ".max", "memory.max\n"])
def test_unified_keys_stay_in_their_directory(key: str) -> None:
    with pytest.raises(SpecError, match="not the name of a control file"):
        v2(Resources(unified={key: "1"}))


@pytest.mark.parametrize(
    "resources",
    [
        Resources(memory=MemoryResources(kernel=1)),
        Resources(memory=MemoryResources(kernel_tcp=1)),
        Resources(memory=MemoryResources(swappiness=10)),
        Resources(memory=MemoryResources(disable_oom_killer=True)),
        Resources(cpu=CpuResources(realtime_runtime=5)),
        Resources(block_io=BlockIOResources(leaf_weight=10)),
    ],
)
def test_what_v2_lacks_is_refused(resources: Resources) -> None:
    with pytest.raises(SpecError, match="cgroup v2"):
        v2(resources)
    v1(resources)
