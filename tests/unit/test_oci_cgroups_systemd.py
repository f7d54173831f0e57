"""oci.cgroups.systemd*: names, properties, and the driver over a fake tree and a systemd that keeps a diary."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.cgroups import limits_v2
from oci.cgroups.limits_v2 import Current
from oci.cgroups.systemd import SystemdDriver
from oci.cgroups.systemd_calls import Systemd
from oci.cgroups.systemd_units import INFINITY, Property, bitmap, check_slice, parse_scope, properties, slice_path
from oci.errors import CgroupError
from oci.spec import Resources
from tests.cgroup_trees import FakeV2, fake_v2


@pytest.mark.parametrize(
    ("path", "slice_", "unit"),
    [
        ("system.slice:runc:abc", "system.slice", "runc-abc.scope"),
        (":crun:abc", "system.slice", "crun-abc.scope"),
        ("a.slice:x.scope", "a.slice", "x.scope"),
        ("a-b.slice::abc", "a-b.slice", "abc.scope"),
        ("/a.slice/a-b.slice/x.scope", "a-b.slice", "x.scope"),
        ("/mine", "system.slice", "mine.scope"),
    ],
)
def test_paths_name_scopes(path: str, slice_: str, unit: str) -> None:
    scope = parse_scope(path)
    assert (scope.slice, scope.unit) == (slice_, unit)


def test_slices_lie_in_slices() -> None:
    assert slice_path("kubepods-burstable-pod1.slice") == (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice"
    )
    assert slice_path("-.slice") == ""


@pytest.mark.parametrize("name", ["", ".slice", "a", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", "a b.slice"])
def test_what_is_no_slice_is_refused(name: str) -> None:
    with pytest.raises(CgroupError, match="is not the name of"):
        check_slice(name)


@given(st.text(max_size=30))
def test_any_path_is_a_scope_or_refused(path: str) -> None:
    try:
        scope = parse_scope(path)
    except CgroupError:
        return
    assert scope.unit.endswith(".scope")
    assert "/" not in scope.unit
    assert ".." not in scope.path.split("/")


def mirrored(cpu_max: str = "max 100000", **resources: Any) -> dict[str, Any]:
    settings = limits_v2.settings(Resources.from_json(resources), Current())
    return {name: value for name, (_, value) in properties(settings, cpu_max)}


def test_limits_are_mirrored_as_properties() -> None:
    found = mirrored(
        "25000 100000",
        memory={"limit": 1 << 20, "reservation": 4096, "swap": 3 << 20},
        cpu={"shares": 1024, "quota": 25000, "period": 100000, "cpus": "0-1,8", "mems": "0"},
        pids={"limit": -1},
        unified={"memory.high": "max", "io.weight": "default 50"},
    )
    assert found == {
        "MemoryMax": 1 << 20,
        "MemoryLow": 4096,
        "MemorySwapMax": 2 << 20,
        "MemoryHigh": INFINITY,
        "CPUWeight": 100,
        "CPUQuotaPerSecUSec": 250_000,
        "CPUQuotaPeriodUSec": 100_000,
        "AllowedCPUs": b"\x03\x01",
        "AllowedMemoryNodes": b"\x01",
        "TasksMax": INFINITY,
        "IOWeight": 50,
    }


def test_a_quota_finer_than_a_percent_is_rounded_up() -> None:
    assert mirrored("12345 100000", cpu={"quota": 12345})["CPUQuotaPerSecUSec"] == 130_000
    assert mirrored("max 100000", cpu={"quota": -1})["CPUQuotaPerSecUSec"] == INFINITY


def test_an_idle_group_has_no_weight() -> None:
    assert mirrored(cpu={"idle": 1}) == {"CPUWeight": 0}


def test_devices_limits() -> None:
    found = mirrored(
        blockIO={
            "weight": 500,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 100}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 1, "rate": 7}],
        }
    )
    assert found == {
        "IOWeight": 4950,
        "IODeviceWeight": [("/dev/block/8:0", 1)],
        "IOReadBandwidthMax": [("/dev/block/8:0", 100)],
        "IOWriteIOPSMax": [("/dev/block/8:1", 7)],
    }


@given(st.sets(st.integers(0, 300)))
def test_bit_sets(numbers: set[int]) -> None:
    bits = int.from_bytes(bitmap(",".join(map(str, sorted(numbers)))), "little")
    assert {number for number in range(301) if bits >> number & 1} == numbers


class Diary(Systemd):
    """Makes scopes in the fake tree, as systemd does in the kernel's."""

    def __init__(self, files: FakeV2) -> None:
        super().__init__(connect=lambda: pytest.fail("nothing may be sent"))
        self.files = files
        self.units: dict[str, str] = {}
        self.set: dict[str, Any] = {}
        self.stopped: list[str] = []

    def control_group(self) -> str:
        return ""

    def start_scope(self, unit: str, pids: Sequence[int], wanted: Iterable[Property]) -> bool:
        if unit in self.units:
            return False
        given_ = {name: value for name, (_, value) in wanted}
        path = f"{self.files.root}{slice_path(str(given_['Slice']))}/{unit}"
        for part in [*reversed(Path(path).parents), Path(path)]:
            if self.files.root in part.parents:
                self.files.make(str(part))
        for pid in pids:
            self.files.write(f"{path}/cgroup.procs", str(pid))
        self.units[unit] = path
        self.set = given_
        return True

    def stop(self, unit: str) -> None:
        self.stopped.append(unit)

    def set_properties(self, unit: str, wanted: Sequence[Property]) -> None:
        self.set |= {name: value for name, (_, value) in wanted}


@pytest.fixture
def systemd(tmp_path: Path) -> Diary:
    return Diary(fake_v2(tmp_path)[1])


@pytest.fixture
def driver(systemd: Diary) -> SystemdDriver:
    return SystemdDriver(str(systemd.files.root), systemd, systemd.files)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as sleeping:
        yield sleeping
        sleeping.kill()


def test_a_container_scope_from_its_seat_to_its_end(driver: SystemdDriver, systemd: Diary) -> None:
    cgroup = driver.create("a.slice:crun:1", Resources.from_json({"memory": {"limit": 4096}, "cpu": {"quota": 5000}}))
    assert cgroup.path == "/a.slice/crun-1.scope"
    directory = systemd.files.root / "a.slice/crun-1.scope"
    (seat,) = cgroup.pids()
    assert (directory / "memory.max").read_text() == "4096"
    assert systemd.set["Delegate"] is True
    assert systemd.set["MemoryMax"] == 4096
    assert systemd.set["TasksMax"] == INFINITY
    cgroup.occupied()
    assert not os.path.exists(f"/proc/{seat}")
    driver.open(cgroup.path).update(Resources.from_json({"memory": {"limit": 8192}}))
    assert systemd.set["MemoryMax"] == 8192
    driver.open(cgroup.path).remove()
    assert (directory.exists(), systemd.stopped) == (False, ["crun-1.scope"])


def test_a_name_that_is_taken_is_an_error_and_leaves_no_seat(driver: SystemdDriver) -> None:
    driver.create(":crun:1", None).occupied()
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    with pytest.raises(CgroupError, match="has a unit of this name already"):
        driver.create(":crun:1", None)
    assert children.read_text() == before


def test_a_pods_scope_is_held_by_its_shim(
    driver: SystemdDriver, systemd: Diary, process: subprocess.Popen[bytes]
) -> None:
    path = driver.pod_path("/kubepods.slice/kubepods-pod1.slice", "coracle-x.scope")
    assert path == "/kubepods.slice/kubepods-pod1.slice/coracle-x.scope"
    driver.hold(path, process.pid, "pod x")
    assert (systemd.files.root / path[1:] / "shim/cgroup.procs").read_text().split() == [str(process.pid)]
    driver.hold(path, process.pid, "pod x")  # for another shim of the same pod
    inside = driver.open(f"{path}/c1")
    assert type(inside).__name__ == "V2Cgroup"


def test_slices_that_are_none_have_no_pods(driver: SystemdDriver) -> None:
    with pytest.raises(CgroupError, match="not the name of a slice"):
        driver.pod_path("/kubepods/pod1", "coracle-x.scope")


def test_a_scope_that_systemd_removes_meanwhile_is_killed_all_the_same(
    driver: SystemdDriver, systemd: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: str, value: str) -> None:
        raise CgroupError(path, "no such device", errno.ENODEV)

    monkeypatch.setattr(systemd.files, "write", gone)
    driver.open("/system.slice/crun-1.scope").kill(signal.SIGKILL)
