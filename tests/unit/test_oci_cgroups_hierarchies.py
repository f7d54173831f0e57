"""Where cgroups are mounted: hosts of every kind, by their mountinfo."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.cgroups import detect
from oci.cgroups.hierarchies import clean_path, parse_mountinfo
from oci.errors import CgroupError, Unsupported

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
34 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
35 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
36 31 0:30 / /sys/fs/cgroup/again rw,relatime - cgroup cgroup rw,memory
37 23 0:31 / /else/where rw,relatime - cgroup cgroup rw,pids
"""
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


def test_a_hybrid_host() -> None:
    layout = parse_mountinfo(HYBRID)
    assert [(each.mount_point, sorted(each.controllers), each.name) for each in layout.v1] == [
        ("/sys/fs/cgroup/cpu,cpuacct", ["cpu", "cpuacct"], ""),
        ("/sys/fs/cgroup/memory", ["memory"], ""),
        ("/sys/fs/cgroup/systemd", [], "systemd"),
    ]
    assert layout.v2 == "/sys/fs/cgroup/unified"


def test_a_unified_host() -> None:
    layout = parse_mountinfo(UNIFIED)
    assert (layout.v1, layout.v2) == ((), "/sys/fs/cgroup")


def test_escapes_in_mount_points() -> None:
    line = r"32 31 0:29 / /sys/fs/cgroup/a\040b rw - cgroup cgroup rw,cpu"
    assert parse_mountinfo(line).v1[0].mount_point == "/sys/fs/cgroup/a b"


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    parse_mountinfo(text)


def test_detection(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(HYBRID)
    driver = detect(mountinfo=str(mountinfo))
    assert (driver.name, driver.controllers) == ("v1", frozenset(("cpu", "cpuacct", "memory")))
    mountinfo.write_text("")
    with pytest.raises(CgroupError, match="no cgroup file system"):
        detect(mountinfo=str(mountinfo))
    mountinfo.write_text(UNIFIED.replace("/sys/fs/cgroup", str(tmp_path)))
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    driver = detect(mount_point=str(tmp_path), mountinfo=str(mountinfo))
    assert (driver.name, driver.controllers) == ("v2", frozenset(("cpu", "memory", "devices")))


def test_managers_that_cannot_be_had_are_named() -> None:
    with pytest.raises(Unsupported, match="systemd"):
        detect("systemd")
    with pytest.raises(Unsupported, match="'openrc'"):
        detect("openrc")


@given(st.text())
def test_paths_are_clean_or_refused(path: str) -> None:
    try:
        clean = clean_path(path)
    except CgroupError:
        return
    assert clean.startswith("/")
    assert not {"", ".", ".."} & set(clean[1:].split("/"))
    assert clean_path(clean) == clean
