"""cri.pod_cgroups and cri.service_cgroup: where pods and the daemon's own processes are put."""

from __future__ import annotations

from pathlib import Path

import pytest

from cri.errors import InvalidArgument
from cri.pod_cgroups import PlainPods, ScopedPods, pod_cgroups
from cri.service_cgroup import split_own_cgroup
from oci.cgroups.systemd import SystemdDriver
from oci.cgroups.systemd_calls import Systemd
from tests.cgroup_trees import fake_v2


class NoSystemd(Systemd):
    def control_group(self) -> str:
        return ""


@pytest.fixture
def scoped(tmp_path: Path) -> ScopedPods:
    return ScopedPods(SystemdDriver(str(tmp_path), NoSystemd(), fake_v2(tmp_path)[1]), "/coracle")


def test_the_driver_decides(tmp_path: Path) -> None:
    driver, _ = fake_v2(tmp_path)
    assert isinstance(pod_cgroups(driver, "/coracle"), PlainPods)
    assert isinstance(pod_cgroups(SystemdDriver(str(tmp_path), NoSystemd()), "/coracle"), ScopedPods)


def test_plain_pods() -> None:
    assert PlainPods("/coracle").place("", "abc") == ("/coracle/abc", True)
    assert PlainPods("/coracle").place("/kubepods/pod1", "abc") == ("/kubepods/pod1", False)


@pytest.mark.parametrize(
    ("parent", "path"),
    [
        ("", "/coracle.slice/coracle-abc.scope"),
        ("/test.slice", "/test.slice/coracle-abc.scope"),
        ("kubepods-pod1.slice", "/kubepods.slice/kubepods-pod1.slice/coracle-abc.scope"),
        ("/kubepods.slice/kubepods-pod1.slice/", "/kubepods.slice/kubepods-pod1.slice/coracle-abc.scope"),
    ],
)
def test_scoped_pods(scoped: ScopedPods, parent: str, path: str) -> None:
    assert scoped.place(parent, "abc") == (path, True)


@pytest.mark.parametrize("parent", ["/kubepods/pod1", "a--b.slice"])
def test_a_parent_that_is_no_slice_is_the_callers_fault(scoped: ScopedPods, parent: str) -> None:
    with pytest.raises(InvalidArgument, match="cgroup_parent"):
        scoped.place(parent, "abc")


def test_a_cgroup_that_was_not_delegated_stays_whole(tmp_path: Path) -> None:
    (tmp_path / "system.slice/x.service").mkdir(parents=True)
    assert split_own_cgroup(str(tmp_path), "/system.slice/x.service") is None
    assert split_own_cgroup(str(tmp_path), "/") is None
    assert list((tmp_path / "system.slice/x.service").iterdir()) == []
