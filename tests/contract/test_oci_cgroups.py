"""What every cgroup driver promises: the same cases against fake trees of both versions and, as root, the real one."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci import syscalls
from oci.cgroups import Cgroup, CgroupDriver, detect, enter
from oci.errors import CgroupError, SpecError
from oci.spec import CpuResources, DeviceRule, HugepageLimit, MemoryResources, PidsResources, Resources
from tests.cgroup_trees import fake_v1, fake_v2

MIB = 1 << 20
ROOT_ONLY = (pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root"))


@pytest.fixture(params=["fake-v1", "fake-v2", pytest.param("real", marks=ROOT_ONLY)])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> CgroupDriver:
    match request.param:
        case "fake-v1":
            return fake_v1(tmp_path / "v1")[0]
        case "fake-v2":
            return fake_v2(tmp_path / "v2")[0]
        case _:
            return detect()


@pytest.fixture
def top(driver: CgroupDriver) -> Iterator[str]:
    """A cgroup path of this test's own."""
    path = f"/coracle-test-{uuid.uuid4().hex[:12]}"
    yield path
    leftover = driver.open(path)
    leftover.kill(signal.SIGKILL)
    leftover.remove()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        yield sleeper
        sleeper.kill()


def limits(cgroup: Cgroup) -> tuple[int | None, int | None]:
    memory = cgroup.stats().memory
    assert memory is not None
    return memory.limit, memory.swap_limit


def test_create_makes_what_is_missing_and_uses_what_is_there(driver: CgroupDriver, top: str) -> None:
    created = driver.create(f"{top}/pod/container", None)
    again = driver.create(f"{top}/pod/container", Resources(pids=PidsResources(limit=20)))
    assert created.path == again.path == f"{top}/pod/container"
    pids = created.stats().pids
    assert pids is not None
    assert pids.limit == 20


def test_limits_show_in_the_statistics(driver: CgroupDriver, top: str) -> None:
    resources = Resources(memory=MemoryResources(limit=64 * MIB, swap=80 * MIB), pids=PidsResources(limit=7))
    stats = driver.create(top, resources).stats()
    assert stats.memory is not None
    assert (stats.memory.limit, stats.memory.swap_limit) == (64 * MIB, 16 * MIB)
    assert stats.pids is not None
    assert stats.pids.limit == 7
    assert stats.cpu is not None
    assert stats.cpu.usage_ns == pytest.approx(stats.cpu.user_ns + stats.cpu.system_ns, rel=0.01, abs=2000)
    assert stats.io is not None
    assert stats.timestamp_ns > 0


def test_a_new_cgroup_has_no_limits(driver: CgroupDriver, top: str) -> None:
    stats = driver.create(top, Resources()).stats()
    assert stats.memory is not None
    assert stats.memory.limit is None
    assert stats.pids is not None
    assert stats.pids.limit is None


def test_memory_limits_move_up_and_down_together(driver: CgroupDriver, top: str) -> None:
    cgroup = driver.create(top, Resources(memory=MemoryResources(limit=64 * MIB, swap=64 * MIB)))
    assert limits(cgroup) == (64 * MIB, 0)
    cgroup.update(Resources(memory=MemoryResources(limit=128 * MIB, swap=128 * MIB)))
    assert limits(cgroup) == (128 * MIB, 0)
    cgroup.update(Resources(memory=MemoryResources(limit=32 * MIB, swap=48 * MIB)))
    assert limits(cgroup) == (32 * MIB, 16 * MIB)
    cgroup.update(Resources(memory=MemoryResources(limit=-1)))
    assert limits(cgroup) == (None, None)


def test_a_cpu_quota_changes_with_its_period(driver: CgroupDriver, top: str) -> None:
    cgroup = driver.create(top, Resources(cpu=CpuResources(shares=512, quota=50_000, period=100_000)))
    cgroup.update(Resources(cpu=CpuResources(quota=10_000, period=10_000)))
    cgroup.update(Resources(cpu=CpuResources(quota=-1)))


def test_swap_below_memory_is_refused_and_nothing_is_left(driver: CgroupDriver, top: str) -> None:
    with pytest.raises(SpecError, match="below the memory limit"):
        driver.create(f"{top}/x", Resources(memory=MemoryResources(limit=2 * MIB, swap=MIB)))
    with pytest.raises(CgroupError):
        driver.open(f"{top}/x").stats()


def test_a_limit_of_an_absent_controller_names_it(driver: CgroupDriver, top: str) -> None:
    if "hugetlb" in driver.controllers:
        pytest.skip("this host has the controller")
    hugepages = Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=0),))
    with pytest.raises(CgroupError, match="hugetlb"):
        driver.create(f"{top}/x", hugepages)
    with pytest.raises(CgroupError):
        driver.open(f"{top}/x").stats()


@pytest.mark.parametrize("path", ["", "/", "/..", "/a/../../b", "/a\n", "/a\0b"])
def test_bad_paths_are_refused(driver: CgroupDriver, path: str) -> None:
    with pytest.raises(CgroupError):
        driver.open(path)


def test_an_attached_process_is_listed_and_killed(
    driver: CgroupDriver, top: str, process: subprocess.Popen[bytes]
) -> None:
    pod = driver.create(top, None)
    container = driver.create(f"{top}/container", None)
    container.attach(process.pid)
    assert container.pids() == pod.pids() == (process.pid,)
    pod.kill(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert pod.pids() == ()


def test_any_signal_reaches_the_members(driver: CgroupDriver, top: str, process: subprocess.Popen[bytes]) -> None:
    cgroup = driver.create(top, None)
    cgroup.attach(process.pid)
    cgroup.kill(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM


def test_freezing_and_thawing(driver: CgroupDriver, top: str, process: subprocess.Popen[bytes]) -> None:
    cgroup = driver.create(top, None)
    cgroup.attach(process.pid)
    cgroup.freeze()
    cgroup.kill(signal.SIGTERM)  # stays frozen, so nothing happens yet
    assert process.poll() is None
    cgroup.thaw()
    assert process.wait() == -signal.SIGTERM


def test_a_frozen_cgroup_can_be_killed(driver: CgroupDriver, top: str, process: subprocess.Popen[bytes]) -> None:
    cgroup = driver.create(top, None)
    cgroup.attach(process.pid)
    cgroup.freeze()
    cgroup.kill(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_remove_takes_what_is_below_and_leaves_what_is_above(driver: CgroupDriver, top: str) -> None:
    driver.create(f"{top}/pod", None)
    container = driver.create(f"{top}/pod/container", None)
    driver.create(f"{top}/pod/container/inner/most", None)
    container.remove()
    container.remove()
    with pytest.raises(CgroupError):
        container.stats()
    driver.open(f"{top}/pod").stats()


def test_a_cgroup_that_is_gone_is_calm(driver: CgroupDriver, top: str) -> None:
    cgroup = driver.open(f"{top}/never")
    assert cgroup.pids() == ()
    assert cgroup.oom_kills() == 0
    cgroup.kill(signal.SIGKILL)
    cgroup.kill(signal.SIGTERM)
    cgroup.remove()


def test_remove_names_the_processes_that_are_left(
    driver: CgroupDriver, top: str, process: subprocess.Popen[bytes]
) -> None:
    cgroup = driver.create(top, None)
    cgroup.attach(process.pid)
    with pytest.raises(CgroupError, match=str(process.pid)):
        cgroup.remove()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
class TestReal:
    """What only a kernel can answer."""

    @pytest.fixture
    def driver(self) -> CgroupDriver:
        return detect()

    def run_inside(self, cgroup: Cgroup, code: str) -> int:
        """Exit status of a Python child inside the cgroup, put there the way the driver prefers."""
        into, fds = cgroup.into_fd(), cgroup.entry_fds()
        child, pidfd = syscalls.clone3(0, cgroup_fd=into)
        if child == 0:
            try:
                enter(fds)
                exec(code, {"os": os})
                os._exit(0)
            except PermissionError:
                os._exit(13)
            except BaseException:
                os._exit(1)
        with syscalls.closing(pidfd, *fds, *([] if into is None else [into])):
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def test_a_child_starts_inside_in_every_hierarchy(self, driver: CgroupDriver, top: str) -> None:
        fds = driver.create(top, None).entry_fds()
        hierarchies = len(fds) or 1
        with syscalls.closing(*fds):
            pass
        code = (
            "lines = open('/proc/self/cgroup').read().split()\n"
            f"assert sum(line.endswith(':{top}') for line in lines) == {hierarchies}, lines"
        )
        assert self.run_inside(driver.open(top), code) == 0

    def test_only_allowed_devices_open(self, driver: CgroupDriver, top: str) -> None:
        deny_all = Resources(devices=(DeviceRule(allow=False, access="rwm"),))
        cgroup = driver.create(top, deny_all)
        assert self.run_inside(cgroup, "os.open('/dev/null', os.O_RDWR)") == 0
        assert self.run_inside(cgroup, "os.open('/dev/loop-control', os.O_RDONLY)") == 13
        cgroup.update(Resources(devices=(DeviceRule(allow=True, access="rwm"),)))
        assert self.run_inside(cgroup, "os.open('/dev/loop-control', os.O_RDONLY)") == 0

    def test_the_kernel_kills_what_exceeds_memory_and_it_is_counted(self, driver: CgroupDriver, top: str) -> None:
        cgroup = driver.create(top, Resources(memory=MemoryResources(limit=16 * MIB, swap=16 * MIB)))
        assert self.run_inside(cgroup, "x = bytearray(64 << 20)") == -signal.SIGKILL
        assert cgroup.oom_kills() == 1

    def test_the_limit_on_processes_holds(self, driver: CgroupDriver, top: str) -> None:
        cgroup = driver.create(top, Resources(pids=PidsResources(limit=1)))
        code = "try:\n    os.fork()\nexcept BlockingIOError:\n    os._exit(42)"
        assert self.run_inside(cgroup, code) == 42
