"""Labels on real files: without SELinux the attribute is one like any other, that root may write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cri.pod_files import label_pod_files
from cri.selinux.files import ATTRIBUTE, label_file, relabel

pytestmark = pytest.mark.root

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    volume = tmp_path / "volume"
    (volume / "a/b").mkdir(parents=True)
    (volume / "a/file").write_text("x")
    (volume / "a/b/link").symlink_to("/etc/passwd")
    os.mkfifo(volume / "pipe")
    if not label_file(volume, "probe:of:this:s0"):
        pytest.skip("this file system keeps no security attributes")
    return volume


def label(path: Path) -> str:
    return os.getxattr(path, ATTRIBUTE, follow_symlinks=False).decode()


def test_every_file_of_a_volume_gets_its_label(volume: Path) -> None:
    relabel(str(volume), LABEL)
    assert {label(path) for path in (volume, *volume.rglob("*"))} == {LABEL}
    assert ATTRIBUTE not in os.listxattr("/etc/passwd")


def test_nothing_is_written_to_what_has_the_label(volume: Path) -> None:
    relabel(str(volume), LABEL)
    before = {path: path.lstat().st_ctime_ns for path in (volume, *volume.rglob("*"))}
    relabel(str(volume), LABEL)
    assert {path: path.lstat().st_ctime_ns for path in before} == before


def test_the_files_of_a_pod(volume: Path) -> None:
    for name in ("hostname", "hosts", "resolv.conf"):
        (volume / name).write_text("x")
    label_pod_files(volume, LABEL)
    assert {label(volume / name) for name in ("hostname", "hosts", "resolv.conf")} == {LABEL}
