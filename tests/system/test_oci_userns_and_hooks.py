"""User namespaces without mappings, what they may not make themselves, and hooks that work on the root file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oci.errors import SeccompError, SpecError
from tests.system.containers import Box, make_rootfs, namespaces


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(make_rootfs(tmp_path / "rootfs"))


WHOLE = {"linux.namespaces": namespaces("mount", "pid", "ipc", "uts", "network", "user")}
SHARED_NETWORK = {"linux.namespaces": namespaces("mount", "pid", "ipc", "uts", "user")}


def test_without_mappings_every_id_is_itself(box: Box) -> None:
    lines = box.sh("cat /proc/self/uid_map; readlink /proc/self/ns/user", changes=WHOLE).lines
    assert lines[0].split()[:2] == ["0", "0"]
    assert lines[1] != os.readlink("/proc/self/ns/user")


def test_devices_have_the_owner_and_mode_that_the_config_gives_them(box: Box) -> None:
    device = {"path": "/dev/thing", "type": "c", "major": 1, "minor": 5, "fileMode": 0o644, "uid": 10, "gid": 11}
    finished = box.sh(
        "stat -c '%u:%g %a %F' /dev/thing; head -c 1 /dev/thing | wc -c; grep ' /dev/thing ' /proc/self/mountinfo",
        changes=WHOLE | {"linux.devices": [device]},
    )
    assert finished.lines[:2] == ["10:11 644 character special file", "1"]
    assert {"nosuid", "noexec"} <= set(finished.lines[2].split()[5].split(","))


def test_the_hosts_sysfs_comes_without_the_hosts_cgroups(box: Box) -> None:
    """CVE-2023-25809: root of a user namespace that shares the network could write the host's cgroups."""
    mounts = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/sys", "type": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ]
    finished = box.sh(
        "ls -A /sys/fs/cgroup; mkdir /sys/fs/cgroup/x; echo 1 > /sys/kernel/uevent_seqnum; ls -d /sys/kernel",
        changes=SHARED_NETWORK | {"mounts": mounts, "linux.maskedPaths": None, "linux.readonlyPaths": None},
    )
    assert finished.lines[-1] == "/sys/kernel"
    assert finished.output.count("Read-only file system") == 2
    assert not os.path.exists("/sys/fs/cgroup/x")


def test_a_bind_mount_over_the_root_is_the_root(box: Box, tmp_path: Path) -> None:
    other = make_rootfs(tmp_path / "other")
    (other / "here").write_text("other\n")
    mounts = [{"destination": "/", "type": "bind", "source": str(other), "options": ["bind"]}]
    mounts += box.document("true")["mounts"]
    assert box.run("cat", "/here", changes={"mounts": mounts}).lines == ["other"]


def test_create_container_hooks_find_the_root_with_its_mounts(box: Box, tmp_path: Path) -> None:
    """As by runc and crun: hooks of GPU vendors change the container's files by their path on the host."""
    script = f"test -e {box.rootfs}/proc/self && pwd > {tmp_path}/pwd && mount -t tmpfs made {box.rootfs}/mnt"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    before = Path("/proc/self/mountinfo").read_text()
    finished = box.run("grep", " /mnt ", "/proc/self/mountinfo", changes={"hooks.createContainer": [hook]})
    assert "made" in finished.output
    assert (tmp_path / "pwd").read_text().strip() == str(box.rootfs.parent)
    assert Path("/proc/self/mountinfo").read_text() == before


def test_hooks_without_an_environment_have_the_runtimes(box: Box, tmp_path: Path) -> None:
    hook: dict[str, object] = {"path": "/bin/sh", "args": ["sh", "-c", f"cat /proc/$$/environ > {tmp_path}/env"]}
    changes = {"process.env": ["PATH=/image"], "hooks.createRuntime": [hook]}
    assert box.run("/bin/true", changes=changes).status == 0
    inherited = (tmp_path / "env").read_bytes().split(b"\0")
    assert f"PATH={os.environ['PATH']}".encode() in inherited
    hook["env"] = []
    assert box.run("/bin/true", changes=changes).status == 0
    assert b"PATH=/image" not in (tmp_path / "env").read_bytes()
    assert f"PATH={os.environ['PATH']}".encode() not in (tmp_path / "env").read_bytes().split(b"\0")


def test_two_domain_names_contradict_each_other(box: Box) -> None:
    with pytest.raises(SpecError, match="contradicts"):
        box.run("true", changes={"domainname": "a", "linux.sysctl": {"kernel.domainname": "b"}})


@pytest.mark.parametrize("name", ["net.ipv4.ip_forward=0+kernel.core_pattern", "net/../kernel/core_pattern", "net."])
def test_a_sysctl_that_hides_another_is_refused(box: Box, name: str) -> None:
    """CVE-2022-0811: a "+" in a value became another sysctl on its way to the one who wrote them."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    with pytest.raises(Exception, match=r"linux.sysctl|No such file"):
        box.run("true", changes={"linux.sysctl": {name: "|/bin/evil"}})
    with pytest.raises(Exception, match=r"Invalid argument|control"):
        box.run("true", changes={"linux.sysctl": {"kernel.shm_rmid_forced": "1+kernel.core_pattern=|/bin/evil #"}})
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


def test_unknown_system_calls_fail_where_that_is_asked_for(box: Box) -> None:
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}]}
    changes = {"linux.seccomp": profile}
    assert box.run("true", changes=changes).status == 0
    with pytest.raises(SeccompError, match="'no_such_call' is not a system call"):
        box.run("true", changes=changes | {"annotations": {"run.oci.seccomp_fail_unknown_syscall": "1"}})
