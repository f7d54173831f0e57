from __future__ import annotations

import os
from pathlib import Path

import pytest

from cri.trash import Trash


@pytest.fixture
def trash(tmp_path: Path) -> Trash:
    return Trash(tmp_path / "trash")


async def test_what_is_taken_is_gone_at_once_and_deleted_later(trash: Trash, tmp_path: Path) -> None:
    (tmp_path / "layer" / "below").mkdir(parents=True)
    trash.take(tmp_path / "layer")
    assert not (tmp_path / "layer").exists()
    await trash.close()
    assert os.listdir(tmp_path / "trash") == []


async def test_what_is_not_there_is_fine(trash: Trash, tmp_path: Path) -> None:
    trash.take(tmp_path / "nothing")
    await trash.close()


async def test_depths_that_nobody_can_descend_to(trash: Trash, tmp_path: Path) -> None:
    for branch in ("a", "b"):
        nest(tmp_path / "layer" / branch, 2500)
    trash.take(tmp_path / "layer")
    await trash.close()
    assert os.listdir(tmp_path / "trash") == []


async def test_links_are_not_followed(trash: Trash, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    nest(kept, 1)
    nest(tmp_path / "layer", 1500)
    (tmp_path / "layer" / "a").symlink_to(kept)
    trash.take(tmp_path / "layer")
    await trash.close()
    assert os.listdir(kept) == ["d"]


async def test_what_a_crash_left_is_deleted_at_the_next_start(trash: Trash, tmp_path: Path) -> None:
    await trash.close()
    nest(tmp_path / "trash" / "left", 3)
    again = Trash(tmp_path / "trash")
    await again.close()
    assert os.listdir(tmp_path / "trash") in ([], ["left"])  # begun or not: the one after that will


def nest(top: Path, depth: int) -> None:
    top.mkdir(parents=True)
    fd = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
