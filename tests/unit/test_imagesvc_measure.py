from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from imagesvc.measure import measure
from tests.descriptors import open_descriptors


def test_what_du_says(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for number in range(3):
        (top / f"d{number}" / "e").mkdir(parents=True)
        (top / f"d{number}" / "e" / "file").write_bytes(b"x" * 10_000 * number)
    (top / "link").symlink_to("/etc")
    os.link(top / "d2" / "e" / "file", top / "again")
    tally = measure(top)
    entries = [top, *top.rglob("*")]
    assert tally.inodes == len(entries) - 1  # one file has two names
    expected = {path.lstat().st_ino: path.lstat().st_blocks * 512 for path in entries}
    assert tally.used == sum(expected.values())


def test_nothing_there(tmp_path: Path) -> None:
    tally = measure(tmp_path / "absent")
    assert (tally.used, tally.inodes) == (0, 0)


def test_a_tree_as_deep_as_nobody_expects(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        os.mkdir("e", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    before = open_descriptors()
    assert measure(top).inodes == 601
    assert open_descriptors() == before
    shutil.rmtree(top)


def test_a_tree_that_moves_away_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From far below the way back leads elsewhere: what is there is not counted."""
    top, elsewhere = tmp_path / "top", tmp_path / "elsewhere"
    deep = top.joinpath(*["d"] * 100)
    deep.mkdir(parents=True)
    (elsewhere / "much").mkdir(parents=True)
    scan = os.scandir
    there = deep.lstat().st_ino
    moved: list[bool] = []

    def move_then_scan(fd: int) -> object:
        if not moved and os.fstat(fd).st_ino == there:
            deep.rename(elsewhere / "d")
            moved.append(True)
        return scan(fd)

    monkeypatch.setattr(os, "scandir", move_then_scan)
    assert measure(top).inodes == 101
    assert moved
