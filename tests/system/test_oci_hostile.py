"""Root filesystems that set traps. Each test fails for a runtime that resolves a path of the image by its name.

After each the host's files are as they were.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci.errors import ContainerError
from tests.system.containers import Box, with_mount
from tests.system.hostile import guarded_box, make_victim


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    return make_victim(tmp_path)


@pytest.fixture
def box(tmp_path: Path, victim: Path) -> Iterator[Box]:
    with guarded_box(tmp_path, victim) as made:
        yield made


def replace(path: Path, target: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_that_are_links_are_refused(box: Box, victim: Path, name: str) -> None:
    replace(box.rootfs / name, "/tmp")
    with pytest.raises(ContainerError, match=f"/{name} is not a plain directory"):
        box.run("true")


def test_a_dev_that_is_a_link_is_refused(box: Box, victim: Path) -> None:
    """CVE-2026-41579, CVE-2026-47766: nodes, links and the removal of ptmx followed /dev out of the root."""
    before = sorted(path.name for path in victim.iterdir())
    replace(box.rootfs / "dev", str(victim))
    changes = {"mounts": [m for m in box.document("true")["mounts"] if not m["destination"].startswith("/dev")]}
    with pytest.raises(ContainerError, match="/dev is not a plain directory"):
        box.run("true", changes=changes)
    assert sorted(path.name for path in victim.iterdir()) == before


@pytest.mark.parametrize("target", ["{victim}", "../../../../../../../../{victim}", "/proc/1/root{victim}"])
def test_a_mount_point_that_is_a_link_stays_inside(box: Box, victim: Path, target: str) -> None:
    """CVE-2021-30465, CVE-2024-45310."""
    replace(box.rootfs / "mnt", target.format(victim=victim))
    changes = with_mount(box, {"destination": "/mnt/new", "source": "tmpfs", "type": "tmpfs", "options": ["mode=755"]})
    try:
        assert box.run("true", changes=changes).status == 0
    except ContainerError:
        assert "/proc" in target  # inside a proc file system nothing can be made, which is as good


def test_a_file_mount_point_that_is_a_dangling_link_stays_inside(box: Box, victim: Path, tmp_path: Path) -> None:
    replace(box.rootfs / "etc/hosts", f"{victim}/made")
    (tmp_path / "hosts").write_text("hosts\n")
    changes = with_mount(
        box, {"destination": "/etc/hosts", "source": str(tmp_path / "hosts"), "type": "bind", "options": ["bind"]}
    )
    assert box.run("cat", "/etc/hosts", changes=changes).output == "hosts\n"


def test_a_mount_that_a_link_leads_into_proc_is_refused(box: Box, tmp_path: Path) -> None:
    """CVE-2019-16884, CVE-2025-52881: a faked /proc/self/attr swallows the labels of those who enter."""
    replace(box.rootfs / "mnt", "/proc/sys")
    (tmp_path / "fake").mkdir()
    changes = with_mount(
        box, {"destination": "/mnt", "source": str(tmp_path / "fake"), "type": "bind", "options": ["bind"]}
    )
    with pytest.raises(ContainerError, match="leads into a proc file system"):
        box.run("true", changes=changes)


def test_a_masked_path_that_is_a_link_masks_inside(box: Box, victim: Path) -> None:
    replace(box.rootfs / "etc/secret", str(victim / "file"))
    inside = box.rootfs / str(victim).lstrip("/")
    inside.mkdir(parents=True)
    (inside / "file").write_text("inner\n")
    assert box.run("cat", "/etc/secret", changes={"linux.maskedPaths": ["/etc/secret"]}).output == ""
    assert (inside / "file").read_text() == "inner\n"


def test_the_image_has_no_say_in_what_masks(box: Box) -> None:
    """CVE-2025-31133: a /dev/null swapped for a link made the mask a writable bind of anything."""
    (box.rootfs / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    changes = {
        "linux.maskedPaths": ["/proc/keys"],
        "mounts": [m for m in box.document("true")["mounts"] if m["destination"] == "/proc"],
    }
    with pytest.raises(ContainerError, match=r"make device /dev/null: .*another kind"):
        box.run("cat", "/proc/keys", changes=changes)


def test_a_console_that_is_a_link_is_refused(box: Box, victim: Path) -> None:
    """CVE-2025-52565."""
    (box.rootfs / "dev/console").symlink_to(victim / "file")
    changes = {
        "process.terminal": True,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
        ],
    }
    with pytest.raises(ContainerError, match=r"set up console: .*another kind"):
        box.create(box.spec("true", changes=changes))


@pytest.mark.parametrize("number", range(3, 20))
def test_a_working_directory_through_a_descriptor_of_ours(box: Box, number: int) -> None:
    """CVE-2024-21626: /proc/self/fd/N led to a directory of the host."""
    try:
        finished = box.run("pwd", changes={"process.cwd": f"/proc/self/fd/{number}"})
    except ContainerError:
        return
    assert finished.lines == ["/"]


def test_the_runtimes_executable_cannot_be_reached(box: Box) -> None:
    """CVE-2019-5736: /proc/self/exe as the program is the runtime itself."""
    with pytest.raises(ContainerError):
        box.run("/proc/self/exe")


def test_a_program_that_is_a_link_to_the_host_is_looked_up_inside(box: Box, victim: Path) -> None:
    (box.rootfs / "bin/trap").symlink_to(victim / "file")
    with pytest.raises(ContainerError, match=r"no such file or directory|not found"):
        box.run("trap")


def test_nobody_in_the_container_can_look_into_the_waiting_init(box: Box) -> None:
    """CVE-2016-9962: its memory and descriptors are the host's. (CAP_SYS_PTRACE would be a permission to look.)"""
    container = box.start("sleep", "100")
    waiting = box.create(
        box.spec("true", changes={
            "linux.namespaces": [{"type": "mount"}, {"type": "pid", "path": f"/proc/{container.pid}/ns/pid"}],
            "hostname": None,
        })
    )  # fmt: skip
    script = "for p in /proc/[0-9]*; do [ $p = /proc/1 ] || [ $p = /proc/$$ ] || ls $p/fd $p/cwd/ 2>&1; done"
    output = box.exec_sh(container, script).output
    assert "Permission denied" in output
    assert "socket:" not in output
    os.kill(waiting.pid, 9)


def test_hook_environment_is_never_the_images(box: Box, tmp_path: Path) -> None:
    """NVIDIA CVE-2025-23266: LD_PRELOAD of an image in a hook that runs as root of the host."""
    out = tmp_path / "env"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat /proc/$$/environ > {out}"]}
    for kind in ("createRuntime", "prestart"):
        assert box.run("true", changes={f"hooks.{kind}": [hook], "process.env": ["LD_PRELOAD=/x.so"]}).status == 0
        assert b"LD_PRELOAD" not in out.read_bytes()


def test_home_with_control_characters_is_not_used(box: Box) -> None:
    """CRI-O CVE-2026-15809."""
    (box.rootfs / "etc/passwd").write_text("x:x:1000:1000::/home/\x1bx:/bin/sh\n")
    changes = {"process.user": {"uid": 1000, "gid": 1000}, "process.env": ["PATH=/bin"]}
    assert box.sh("echo $HOME", changes=changes).lines == ["/"]


def test_a_passwd_that_is_a_device_is_not_opened(box: Box) -> None:
    (box.rootfs / "etc/passwd").unlink()
    os.mkfifo(box.rootfs / "etc/passwd")
    assert box.sh("echo $HOME", changes={"process.env": ["PATH=/bin"]}).lines == ["/"]
