"""What one driver alone must do: cpusets of v1, controllers of v2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oci.cgroups import enter
from oci.errors import CgroupError
from oci.spec import CpuResources, MemoryResources, PidsResources, Resources
from tests.cgroup_trees import fake_v1, fake_v2
from tests.descriptors import open_descriptors


def test_v1_cpusets_are_filled_from_above(tmp_path: Path) -> None:
    driver, _ = fake_v1(tmp_path)
    driver.create("/a/b/c", None)
    for place in ("a", "a/b", "a/b/c"):
        assert (tmp_path / "cpuset" / place / "cpuset.cpus").read_text() == "0-1"
        assert (tmp_path / "cpuset" / place / "cpuset.mems").read_text() == "0"


def test_v1_cpusets_that_somebody_set_stay(tmp_path: Path) -> None:
    driver, _ = fake_v1(tmp_path)
    driver.create("/a", Resources(cpu=CpuResources(cpus="1")))
    driver.create("/a/b", None)
    assert (tmp_path / "cpuset/a/b/cpuset.cpus").read_text() == "1"
    assert (tmp_path / "cpuset/a/cpuset.cpus").read_text() == "1"


def test_v1_a_child_enters_through_descriptors(tmp_path: Path) -> None:
    driver, _ = fake_v1(tmp_path)
    fds = driver.create("/a", None).entry_fds()
    assert len(fds) == len(driver.hierarchies)
    enter(fds)
    assert {file.read_text() for file in tmp_path.glob("*/a/tasks")} == {"0"}
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_v1_entry_to_a_missing_cgroup_leaks_nothing(tmp_path: Path) -> None:
    driver, _ = fake_v1(tmp_path)
    cgroup = driver.create("/a", None)
    (tmp_path / "systemd/a/tasks").unlink()  # the last one to be opened
    before = open_descriptors()
    with pytest.raises(CgroupError, match="systemd/a/tasks"):
        cgroup.entry_fds()
    assert open_descriptors() == before


def test_v2_controllers_are_enabled_on_the_whole_path(tmp_path: Path) -> None:
    driver, _ = fake_v2(tmp_path, ("cpu", "memory", "pids"))
    driver.create("/a/b/c", None)
    for place in ("", "a", "a/b"):
        assert (tmp_path / place / "cgroup.subtree_control").read_text() == "cpu memory pids"
    assert (tmp_path / "a/b/c/cgroup.subtree_control").read_text() == ""


def test_v2_writes_nothing_when_all_is_enabled(tmp_path: Path) -> None:
    driver, files = fake_v2(tmp_path, ("cpu", "memory"))
    driver.create("/a/b", None)
    files.log.clear()
    driver.create("/a/c", None)
    assert files.log == []


def test_v2_a_controller_that_refuses_matters_only_when_asked_for(tmp_path: Path) -> None:
    driver, files = fake_v2(tmp_path, ("cpu", "memory", "pids"))
    files.refused = {"memory"}
    cgroup = driver.create("/a", Resources(pids=PidsResources(limit=3)))
    assert cgroup.stats().memory is None
    with pytest.raises(CgroupError, match="controller `memory` is not available"):
        driver.create("/b", Resources(memory=MemoryResources(limit=5)))
    assert not (tmp_path / "b").exists()
    assert (tmp_path / "a").exists()


def test_v2_unified_keys_of_absent_controllers_name_them(tmp_path: Path) -> None:
    driver, _ = fake_v2(tmp_path)
    driver.create("/a", Resources(unified={"memory.oom.group": "1"}))
    assert (tmp_path / "a/memory.oom.group").read_text() == "1"
    with pytest.raises(CgroupError, match="controller `misc` is not available"):
        driver.create("/b", Resources(unified={"misc.max": "res_a 1"}))
