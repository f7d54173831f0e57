from __future__ import annotations

from pathlib import Path

import pytest

from cri.page_merging import PageMerging
from oci.merging import let_pages_merge, writable_mappings

MAPS = """\
00400000-00a00000 r-xp 00000000 00:01 2055 /memfd:coracle (deleted)
00c00000-00d00000 rw-p 00800000 00:01 2055 /memfd:coracle (deleted)
01000000-01100000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
7f0000200000-7f0000300000 rw-s 00000000 00:01 7 /dev/shm/x
7ffc00000000-7ffc00100000 rw-p 00000000 00:00 0 [stack]
"""


def test_private_writable_memory_is_offered_and_nothing_else() -> None:
    assert list(writable_mappings(MAPS)) == [
        (0xC00000, 0xD00000),
        (0x1000000, 0x1100000),
        (0x7F0000000000, 0x7F0000100000),
    ]


def test_the_kernel_takes_the_offer_or_has_no_merging() -> None:
    assert let_pages_merge() is Path("/sys/kernel/mm/ksm").exists()


@pytest.mark.parametrize(("before", "during"), [("0\n", "1"), ("1\n", "1\n"), ("2\n", "2\n")])
def test_merging_that_is_off_is_turned_on_and_off_again(tmp_path: Path, before: str, during: str) -> None:
    switch = tmp_path / "run"
    switch.write_text(before)
    merging = PageMerging(tmp_path / "ours", switch)
    merging.turn_on()
    assert switch.read_text() == during
    PageMerging(tmp_path / "ours", switch).turn_off()  # the daemon that turned it on was killed meanwhile
    assert switch.read_text().strip() == before.strip()


def test_a_kernel_without_merging_is_no_error(tmp_path: Path) -> None:
    merging = PageMerging(tmp_path / "ours", tmp_path / "missing")
    merging.turn_on()
    merging.turn_off()
