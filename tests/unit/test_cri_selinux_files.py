"""Labels on files: attributes are kept beside the files here, since writing real ones takes root."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.selinux.files import Refused, check_path, label_file, relabel

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


class Attributes:
    """security.selinux by inode; `written` counts, `failures` answer by name of the file."""

    def __init__(self) -> None:
        self.labels: dict[int, bytes] = {}
        self.written: list[int] = []
        self.failures: dict[int, int] = {}

    def get(self, path: str | PurePath, name: str, *, follow_symlinks: bool) -> bytes:
        inode = os.stat(path, follow_symlinks=follow_symlinks).st_ino
        if inode not in self.labels:
            raise OSError(errno.ENODATA, "no data")
        return self.labels[inode]

    def set(self, path: str | PurePath, name: str, value: bytes, *, follow_symlinks: bool) -> None:
        assert name == "security.selinux"
        inode = os.stat(path, follow_symlinks=follow_symlinks).st_ino
        if inode in self.failures:
            raise OSError(self.failures[inode], os.strerror(self.failures[inode]))
        self.labels[inode] = value + b"\0"  # as the kernel gives it back
        self.written.append(inode)

    def of(self, path: Path) -> str:
        return self.labels.get(path.lstat().st_ino, b"").rstrip(b"\0").decode()


@pytest.fixture
def attributes(monkeypatch: pytest.MonkeyPatch) -> Attributes:
    made = Attributes()
    monkeypatch.setattr(os, "getxattr", made.get)
    monkeypatch.setattr(os, "setxattr", made.set)
    return made


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    volume = tmp_path / "volume"
    (volume / "a/b/c").mkdir(parents=True)
    (volume / "a/b/file").write_text("x")
    (volume / "a/b/c/file").write_text("x")
    os.mkfifo(volume / "a/pipe")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("x")
    (volume / "link").symlink_to("../outside/secret")
    (volume / "a/directory-link").symlink_to("../../outside")
    return volume


def everything(top: Path) -> list[Path]:
    return [top, *sorted(top.rglob("*"))]


def test_all_of_a_volume_and_nothing_else(attributes: Attributes, volume: Path, tmp_path: Path) -> None:
    relabel(str(volume), LABEL)
    assert {path: attributes.of(path) for path in everything(volume)} == dict.fromkeys(everything(volume), LABEL)
    assert {attributes.of(path) for path in (tmp_path, *everything(tmp_path / "outside"))} == {""}
    assert attributes.written[-1] == volume.stat().st_ino  # a walk that was cut short can be seen


def test_what_has_the_label_is_not_written_to_again(attributes: Attributes, volume: Path) -> None:
    relabel(str(volume), LABEL)
    attributes.written.clear()
    relabel(str(volume), LABEL)
    assert attributes.written == []
    (volume / "a/new").write_text("x")
    relabel(str(volume), LABEL)
    assert attributes.written == [(volume / "a/new").stat().st_ino]


def test_a_volume_may_be_a_file_or_a_link_to_one(attributes: Attributes, volume: Path) -> None:
    relabel(str(volume / "a/b/file"), LABEL)
    assert [attributes.of(path) for path in (volume / "a/b/file", volume / "a/b")] == [LABEL, ""]
    relabel(str(volume / "link"), LABEL)
    assert attributes.of(volume.parent / "outside/secret") == LABEL
    assert attributes.of(volume / "link") == ""


def test_a_file_system_without_labels_is_left_alone(attributes: Attributes, volume: Path) -> None:
    attributes.failures = {path.lstat().st_ino: errno.ENOTSUP for path in everything(volume)}
    relabel(str(volume), LABEL)
    assert label_file(volume, LABEL) is False
    assert attributes.labels == {}


def test_other_refusals_are_raised(attributes: Attributes, volume: Path) -> None:
    attributes.failures = {(volume / "a/b/c/file").stat().st_ino: errno.EROFS}
    with pytest.raises(OSError, match="Read-only"):
        relabel(str(volume), LABEL)
    assert attributes.of(volume) == ""


def test_files_may_vanish_while_a_volume_is_walked(
    attributes: Attributes, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {volume / "a/b", volume / "a/pipe"}
    inodes = {path.stat().st_ino: path for path in gone}

    def set_and_remove(path: str, name: str, value: bytes, *, follow_symlinks: bool) -> None:
        inode = os.stat(path, follow_symlinks=follow_symlinks).st_ino
        if inode in inodes:
            inodes[inode].rename(volume.parent / "outside" / inodes[inode].name)
            raise FileNotFoundError(errno.ENOENT, "gone")
        attributes.set(path, name, value, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "setxattr", set_and_remove)
    relabel(str(volume), LABEL)
    assert attributes.of(volume) == LABEL
    assert attributes.of(volume.parent / "outside/b/file") == ""


def test_a_directory_that_becomes_a_link_leads_nowhere(
    attributes: Attributes, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that shares the volume swaps them between the look and the step."""
    place = volume / "a/b"
    inode = place.stat().st_ino

    def set_and_swap(path: str, name: str, value: bytes, *, follow_symlinks: bool) -> None:
        attributes.set(path, name, value, follow_symlinks=follow_symlinks)
        if attributes.written[-1] == inode and not place.is_symlink():
            place.rename(volume / "elsewhere")
            place.symlink_to(tmp_path / "outside")

    monkeypatch.setattr(os, "setxattr", set_and_swap)
    relabel(str(volume), LABEL)
    assert {attributes.of(path) for path in everything(tmp_path / "outside")} == {""}


def test_a_walk_ends_when_nobody_waits_for_it(attributes: Attributes, volume: Path) -> None:
    class Over(Exception):
        pass

    def check() -> None:
        if attributes.written:
            raise Over

    before = os.listdir("/proc/self/fd")
    with pytest.raises(Over):
        relabel(str(volume), LABEL, check=check)
    assert attributes.of(volume) == ""
    assert os.listdir("/proc/self/fd") == before


def test_a_missing_volume_is_the_callers(attributes: Attributes, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        relabel(str(tmp_path / "nowhere"), LABEL)


def test_no_descriptor_is_left(attributes: Attributes, volume: Path) -> None:
    before = os.listdir("/proc/self/fd")
    relabel(str(volume), LABEL)
    assert os.listdir("/proc/self/fd") == before


# --- what keeps its labels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/etc", "/etc/passwd", "/usr", "/usr/lib", "/var", "/var/lib", "/var/log", "/home", "/root", "/run"),
        *("/tmp", "/bin", "/lib64", "/var/lib/kubelet", "/proc", "/proc/1/root", "/sys/fs/cgroup", "/dev/shm"),
        *("/opt/coracle/root", "/opt/coracle"),
    ],
)
def test_the_hosts_own_directories_are_refused(path: str) -> None:
    with pytest.raises(Refused, match=f"^{path} is the host's"):
        check_path(path, (PurePath("/opt/coracle/root"),))


@pytest.mark.parametrize(
    "path", ["/var/lib/kubelet/pods/x/volumes/y", "/home/me/data", "/data", "/etc/app.d", "/opt/x"]
)
def test_volumes_are_not(path: str) -> None:
    check_path(path, (PurePath("/opt/coracle/root"),))


def test_a_link_to_the_host_is_refused(attributes: Attributes, tmp_path: Path) -> None:
    (tmp_path / "innocent").symlink_to("/etc")
    with pytest.raises(Refused, match=r"^/etc is"):
        relabel(str(tmp_path / "innocent"), LABEL)
    assert attributes.labels == {}


@given(st.lists(st.sampled_from(["etc", "usr", "x"]), max_size=4))
def test_whatever_holds_a_protected_place_is_refused(parts: list[str]) -> None:
    path = PurePath("/", *parts)
    try:
        check_path(str(path), (PurePath("/x/x/x"),))
    except Refused:
        return
    assert not PurePath("/x/x/x").is_relative_to(path)
    assert not PurePath("/etc").is_relative_to(path)
