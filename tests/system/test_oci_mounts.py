"""Mounts, devices, masked and read-only paths, propagation."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cri.detached_trees import attached_subtree, subtree
from oci import mounts as detached
from oci import syscalls as sc
from oci.errors import ContainerError, SpecError
from tests.system.containers import Box, make_rootfs, with_mount


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("bundle") / "rootfs")


@pytest.fixture
def box(rootfs: Path) -> Iterator[Box]:
    made = Box(rootfs)
    yield made
    made.close()
    made.engine.close()
    # Others mount and unmount meanwhile; ours would be below the bundle.
    with open("/proc/self/mountinfo") as file:
        assert [line for line in file if str(rootfs.parent) in line] == []


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    (directory / "sub").mkdir(parents=True)
    (directory / "file").write_text("hello\n")
    return directory


def bind(source: Path, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "type": "bind", "options": ["rbind", *options]}


def test_default_mounts(box: Box) -> None:
    lines = [line.split() for line in box.sh("cat /proc/mounts").lines]
    found = {fields[1]: (fields[2], fields[3].split(",")) for fields in lines}
    assert found["/proc"][0] == "proc"
    assert found["/dev"][0] == "tmpfs"
    assert "nosuid" in found["/dev"][1]
    assert "relatime" not in found["/dev"][1]  # strictatime was asked for
    assert found["/dev/pts"][0] == "devpts"
    assert found["/dev/shm"][0] == "tmpfs"
    assert found["/dev/mqueue"][0] == "mqueue"
    assert found["/sys"][0] == "sysfs"
    assert "ro" in found["/sys"][1]


def test_default_devices_and_links(box: Box) -> None:
    names = "null zero full random urandom tty"
    nodes = box.sh(
        f"cd /dev; stat -c '%n %t,%T %a' {names}; for l in ptmx fd stdin stdout stderr; do readlink $l; done"
    ).lines
    assert nodes == [
        "null 1,3 666", "zero 1,5 666", "full 1,7 666", "random 1,8 666", "urandom 1,9 666", "tty 5,0 666",
        "pts/ptmx", "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2",
    ]  # fmt: skip


def test_devices_of_the_config(box: Box) -> None:
    devices = [
        {"path": "/dev/own", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 7, "gid": 8},
        {"path": "/dev/deep/pipe", "type": "p", "fileMode": 0o620},
    ]
    lines = box.sh("stat -c '%t,%T %a %u:%g %F' /dev/own /dev/deep/pipe", changes={"linux.devices": devices}).lines
    assert lines == ["1,5 600 7:8 character special file", "0,0 620 0:0 fifo"]


def test_bind_mount_options(box: Box, source: Path) -> None:
    changes = with_mount(box, bind(source, "/mnt", "ro", "nosuid", "nodev", "noexec", "noatime"))
    finished = box.sh("cat /mnt/file; touch /mnt/x; grep ' /mnt ' /proc/mounts", changes=changes)
    assert finished.lines[0] == "hello"
    assert "Read-only file system" in finished.lines[1]
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(finished.lines[2].split()[3].split(","))


def test_a_file_is_mounted_where_nothing_was(box: Box, source: Path) -> None:
    changes = with_mount(box, bind(source / "file", "/etc/new/deep/file"))
    assert box.sh("cat /etc/new/deep/file", changes=changes).lines == ["hello"]


def test_a_directory_cannot_cover_a_file(box: Box, source: Path) -> None:
    with pytest.raises(ContainerError, match=r"bind mount .* on /etc/passwd: "):
        box.run("true", changes=with_mount(box, bind(source, "/etc/passwd")))


def test_readonly_is_for_the_top_rro_for_the_tree(box: Box, source: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "below", source / "sub"], check=True)
    try:
        script = "for d in /mnt/sub; do touch $d/x && echo written || echo refused; done 2>/dev/null"
        assert box.sh(script, changes=with_mount(box, bind(source, "/mnt", "ro"))).lines == ["written"]
        assert box.sh(script, changes=with_mount(box, bind(source, "/mnt", "rro"))).lines == ["refused"]
    finally:
        subprocess.run(["umount", source / "sub"], check=True)


@pytest.mark.parametrize(
    ("option", "expected"), [("rprivate", ""), ("rslave", "master:"), ("rshared", "shared:"), (None, "master:")]
)
def test_propagation(box: Box, source: Path, option: str | None, expected: str) -> None:
    subprocess.run(["mount", "--bind", source, source], check=True)
    try:
        subprocess.run(["mount", "--make-shared", source], check=True)
        changes = with_mount(box, bind(source, "/mnt", *([option] if option else [])))
        (line,) = box.sh("grep ' /mnt ' /proc/self/mountinfo", changes=changes).lines
        optional = line.partition(" - ")[0].split()[6:]
        if expected:
            assert any(tag.startswith(expected) for tag in optional)
            assert not any(tag.startswith({"shared:", "master:"}.difference({expected}).pop()) for tag in optional)
        else:
            assert optional == []
    finally:
        subprocess.run(["umount", source], check=True)


def test_mounts_come_from_the_host_and_go_back(box: Box, source: Path) -> None:
    subprocess.run(["mount", "--bind", source, source], check=True)
    subprocess.run(["mount", "--make-shared", source], check=True)
    admin = {"process.capabilities": {k: ["CAP_SYS_ADMIN"] for k in ("bounding", "effective", "permitted")}}
    try:
        changes = with_mount(box, bind(source, "/mnt", "rshared")) | admin
        assert box.sh("mount -t tmpfs inner /mnt/sub && touch /mnt/sub/seen", changes=changes).status == 0
        assert (source / "sub/seen").exists()
        subprocess.run(["umount", source / "sub"], check=True)
        container = box.start("sleep", "100", changes=with_mount(box, bind(source, "/mnt", "rslave")))
        subprocess.run(["mount", "-t", "tmpfs", "outer", source / "sub"], check=True)
        (source / "sub/late").touch()
        assert box.exec_sh(container, "ls /mnt/sub").lines == ["late"]
        subprocess.run(["umount", source / "sub"], check=True)
        assert box.exec_sh(container, "ls /mnt/sub").lines == []
    finally:
        subprocess.run(["umount", source], check=True)


def test_nothing_of_the_host_is_unmounted_or_mounted(box: Box, tmp_path: Path) -> None:
    """In a mount namespace whose whole tree is shared, as on a host with systemd; the fixture compares mountinfo."""
    script = (
        "mount --make-rshared /; cat /proc/self/mountinfo > before;"
        ' coracle() { $PYTHON -m oci.cli --root $PWD/state --cgroup-manager disabled "$@"; };'
        " coracle run x || exit 1; cat /proc/self/mountinfo > after; cmp before after"
    )
    import json
    import sys

    (tmp_path / "config.json").write_text(json.dumps(box.document("true")))
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(["unshare", "-m", "sh", "-c", script], check=True, cwd=tmp_path, env=environment)


def test_a_descriptor_is_the_root_and_others_are_mounts(box: Box, rootfs: Path, source: Path) -> None:
    root = detached.clone_tree(sc.AT_FDCWD, str(rootfs))
    image = detached.make_filesystem("tmpfs", "tmpfs")
    mounts = [*box.document("true")["mounts"], {"destination": "/mnt", "type": "bind", "options": ["ro"]}]
    try:
        script = "grep -o ' /mnt ro' /proc/mounts; grep ' /mnt ' /proc/mounts | cut -d' ' -f3,4 | cut -c1-8; touch /new"
        finished = box.sh(
            script,
            changes={"root": {"path": "ignored", "readonly": True}, "mounts": mounts},
            rootfs_fd=root,
            mount_fds={len(mounts) - 1: image},
        )
    finally:
        os.close(root)
        os.close(image)
    assert finished.lines[0] == "tmpfs ro"
    assert "Read-only file system" in finished.lines[1]


def test_readonly_root(box: Box) -> None:
    finished = box.sh("touch /x; echo x > /dev/shm/x && cat /dev/shm/x", changes={"root.readonly": True})
    assert "Read-only file system" in finished.lines[0]
    assert finished.lines[1] == "x"


def test_masked_and_readonly_paths(box: Box) -> None:
    changes = {
        "linux.maskedPaths": ["/proc/keys", "/proc/acpi", "/proc/missing", "/tmp", "/etc/passwd"],
        "linux.readonlyPaths": ["/proc/sys", "/mnt", "/proc/missing"],
    }
    script = "cat /proc/keys /etc/passwd; ls /tmp; touch /tmp/x; echo 1 > /proc/sys/kernel/shmmax; touch /mnt/x"
    lines = box.sh(script, changes=changes).lines
    assert len(lines) == 3
    assert all("Read-only file system" in line for line in lines)


def test_tmpfs_options_and_copy_up(box: Box, rootfs: Path) -> None:
    (rootfs / "copied/sub").mkdir(parents=True, exist_ok=True)
    (rootfs / "copied/sub/file").write_text("from below\n")
    mount = {
        "destination": "/copied", "type": "tmpfs", "source": "tmpfs",
        "options": ["size=1m", "mode=1711", "tmpcopyup", "ro"],
    }  # fmt: skip
    script = "cat /copied/sub/file; stat -c %a /copied; touch /copied/x"
    lines = box.sh(script, changes=with_mount(box, mount)).lines
    assert lines[:2] == ["from below", "1711"]
    assert "Read-only file system" in lines[2]


def test_own_cgroup_is_shown(box: Box) -> None:
    listed = box.sh("ls /sys/fs/cgroup; grep -c ' /sys/fs/cgroup' /proc/mounts").lines
    assert int(listed[-1]) >= 1


@pytest.mark.parametrize("target", ["/proc/sysrq-trigger", "/proc/self/attr", "/proc/1"])
def test_nothing_is_mounted_inside_proc(box: Box, source: Path, target: str) -> None:
    with pytest.raises(SpecError, match="inside /proc"):
        box.run("true", changes=with_mount(box, bind(source, target)))


def test_what_lxcfs_mounts_inside_proc_is_allowed(box: Box, source: Path) -> None:
    changes = with_mount(box, bind(source / "file", "/proc/uptime"))
    assert box.sh("cat /proc/uptime", changes=changes).lines == ["hello"]


def test_root_propagation(box: Box) -> None:
    (line,) = box.sh("grep ' / / ' /proc/self/mountinfo || head -1 /proc/self/mountinfo", changes={
        "linux.rootfsPropagation": "shared"
    }).lines  # fmt: skip
    assert "shared:" in line


@pytest.mark.parametrize("copy", [subtree, attached_subtree])
def test_a_directory_of_a_detached_mount_is_a_mount_of_its_own(copy: Callable[[int, int], int]) -> None:
    """The second way is that of kernels before 6.15."""
    whole = detached.make_filesystem("tmpfs")
    os.makedirs(f"/proc/self/fd/{whole}/a/b")
    inside = os.open("a", os.O_PATH | os.O_DIRECTORY, dir_fd=whole)
    made = copy(whole, inside)
    for fd in (whole, inside):
        os.close(fd)
    assert os.listdir(f"/proc/self/fd/{made}") == ["b"]
    os.mkdir("c", dir_fd=made)
    detached.set_attributes(made, sc.MOUNT_ATTR_RDONLY)
    with pytest.raises(OSError, match="Read-only"):
        os.mkdir("d", dir_fd=made)
    os.close(made)
