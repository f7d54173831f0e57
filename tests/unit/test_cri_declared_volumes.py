from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cri import declared_volumes
from cri.api import runtime_pb2 as api


def config(*places: str) -> api.ContainerConfig:
    return api.ContainerConfig(mounts=[api.Mount(container_path=place, host_path="/x") for place in places])


def test_a_mount_wins_over_the_images_volume() -> None:
    assert declared_volumes.places(("/data", "/logs"), config("/data/")) == ("/logs",)


def test_nothing_is_made_inside_what_the_kubelet_mounts() -> None:
    assert declared_volumes.places(("/data/below", "/database"), config("/data")) == ("/database",)


@pytest.mark.parametrize("place", ["/", "", "/proc", "/proc/sys", "/sys/fs", "/dev/shm", "//dev", "/a/../proc"])
def test_places_that_are_not_the_images_to_give(place: str) -> None:
    assert declared_volumes.places((place,), config()) == ()


def test_places_are_cleaned_and_come_once() -> None:
    assert declared_volumes.places(("data", "/data/", "/./data"), config()) == ("/data",)


@pytest.fixture
def rootfs(tmp_path: Path) -> Iterator[int]:
    root = tmp_path / "rootfs"
    (root / "data" / "deep").mkdir(parents=True)
    (root / "data" / "file").write_text("given")
    (root / "data" / "link").symlink_to("/etc/passwd")
    (root / "data").chmod(0o750)
    (root / "plain").write_text("a file")
    (root / "out").symlink_to("../../..")
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def make(rootfs: int, tmp_path: Path, *places: str, read_only: bool) -> dict[str, str]:
    return dict(asyncio.run(declared_volumes.make(rootfs, places, tmp_path / "own", read_only=read_only, owners=None)))


def test_a_writable_root_just_gets_the_directory(rootfs: int, tmp_path: Path) -> None:
    assert make(rootfs, tmp_path, "/data", "/new/one", "/plain", read_only=False) == {}
    assert (tmp_path / "rootfs" / "new" / "one").is_dir()
    assert (tmp_path / "rootfs" / "plain").read_text() == "a file"
    assert not (tmp_path / "own").exists()


def test_a_read_only_root_gets_copies(rootfs: int, tmp_path: Path) -> None:
    made = make(rootfs, tmp_path, "/data", "/new", "/plain", read_only=True)
    assert set(made) == {"/data", "/new"}
    copy = Path(made["/data"])
    assert (copy / "file").read_text() == "given"
    assert (copy / "deep").is_dir()
    assert os.readlink(copy / "link") == "/etc/passwd"
    assert copy.stat().st_mode & 0o777 == 0o750
    assert not os.listdir(made["/new"])
    assert not (tmp_path / "rootfs" / "new").exists()


def test_no_link_leads_out_of_the_image(rootfs: int, tmp_path: Path) -> None:
    """`/out` is a link to far above: inside the image it is the image's own root."""
    made = make(rootfs, tmp_path, "/out/data", read_only=True)
    assert sorted(os.listdir(made["/out/data"])) == ["deep", "file", "link"]


def test_no_descriptor_is_left_when_it_fails(rootfs: int, tmp_path: Path) -> None:
    (tmp_path / "rootfs" / "data" / Path(*["d"] * 300)).mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="nested too deeply"):
        make(rootfs, tmp_path, "/data", read_only=True)
    assert len(os.listdir("/proc/self/fd")) == before
