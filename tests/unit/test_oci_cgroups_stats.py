"""Parsers of cgroup files, and what both readers make of a cgroup."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.cgroups.stats import (
    DeviceIo,
    parse_blkio,
    parse_io,
    parse_pressure,
    pick,
)
from oci.cgroups.usage import KeyedNumbers
from oci.errors import CgroupError
from oci.spec import MemoryResources, Resources
from tests.cgroup_trees import fake_v1, fake_v2


def test_pick_finds_whole_keys_only() -> None:
    text = b"inactive_file 5\nfile 7\nlast 9"
    assert pick(text, (b"file", b"inactive_file", b"last", b"missing", b"inactive")) == [7, 5, 9, 0, 0]


@given(st.dictionaries(st.from_regex(rb"\A[a-z_]{1,9}\Z"), st.integers(0, 1 << 63)))
def test_pick_finds_everything(values: dict[bytes, int]) -> None:
    text = b"".join(b"%s %d\n" % pair for pair in values.items())
    assert pick(text, values) == list(values.values())


def test_pressure() -> None:
    text = b"some avg10=1.50 avg60=0.25 avg300=0.01 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"
    pressure = parse_pressure(text)
    assert pressure is not None
    assert (pressure.some.avg10, pressure.some.avg60, pressure.some.avg300) == (1.5, 0.25, 0.01)
    assert (pressure.some.total_ns, pressure.full.total_ns) == (12_000, 3_000)
    assert parse_pressure(None) is None
    assert parse_pressure(b"") is None
    only_some = parse_pressure(text.split(b"\n")[0])
    assert only_some is not None
    assert only_some.full.total_ns == 0


@given(st.binary())
def test_pressure_survives_any_bytes(text: bytes) -> None:
    parse_pressure(text)


def test_io_of_both_versions() -> None:
    assert parse_blkio(b"8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:0 Total 3\n253:1 Write 4\nTotal 7\n") == {
        (8, 0): (1, 2),
        (253, 1): (0, 4),
    }
    assert parse_io(b"8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n259:0 rbytes=9\n") == [
        DeviceIo(major=8, minor=0, read_bytes=1, write_bytes=2, read_operations=3, write_operations=4),
        DeviceIo(major=259, minor=0, read_bytes=9, write_bytes=0, read_operations=0, write_operations=0),
    ]


def test_v1_reader(tmp_path: Path) -> None:
    stats = fake_v1(tmp_path)[0].create("/a", None).stats()
    assert stats.cpu is not None
    assert (stats.cpu.usage_ns, stats.cpu.user_ns, stats.cpu.system_ns) == (1000, 700, 300)
    assert (stats.cpu.periods, stats.cpu.throttled_periods, stats.cpu.throttled_ns) == (3, 2, 1000)
    assert stats.memory is not None
    assert (stats.memory.usage, stats.memory.working_set) == (8_388_608, 8_000_000)
    assert (stats.memory.rss, stats.memory.page_faults, stats.memory.major_page_faults) == (4096, 7, 2)
    assert (stats.memory.limit, stats.memory.swap_limit, stats.memory.swap_usage) == (None, None, 0)
    assert stats.io is not None
    assert stats.io.devices == (
        DeviceIo(major=8, minor=0, read_bytes=4096, write_bytes=512, read_operations=1, write_operations=2),
    )


def test_v2_reader(tmp_path: Path) -> None:
    stats = fake_v2(tmp_path)[0].create("/a", None).stats()
    assert stats.cpu is not None
    assert (stats.cpu.usage_ns, stats.cpu.throttled_ns, stats.cpu.pressure) == (1000, 1000, None)
    assert stats.memory is not None
    assert (stats.memory.usage, stats.memory.working_set, stats.memory.rss) == (8_388_608, 8_000_000, 4096)
    assert stats.memory.pressure is not None
    assert stats.memory.pressure.some.total_ns == 12_000
    assert stats.pids is not None
    assert (stats.pids.current, stats.pids.limit) == (1, None)


def test_parts_without_a_controller_are_none(tmp_path: Path) -> None:
    stats = fake_v2(tmp_path / "v2", ("pids",))[0].create("/a", None).stats()
    assert (stats.memory, stats.io) == (None, None)
    stats = fake_v1(tmp_path / "v1", ("pids", "cpuacct"))[0].create("/a", None).stats()
    assert (stats.memory, stats.io) == (None, None)
    assert stats.cpu is not None


def test_v1_usage_is_read_anew_from_files_that_stay_open(tmp_path: Path) -> None:
    driver, _ = fake_v1(tmp_path)
    driver.create("/a", None)
    reader = driver.usage_reader("/a", pids=True)
    first = reader.read()
    assert (first.cpu_ns, first.processes) == (1000, 1)
    assert first.memory is not None
    assert (first.memory.usage, first.memory.working_set, first.memory.rss) == (8_388_608, 8_000_000, 4096)
    assert (first.memory.page_faults, first.memory.major_page_faults) == (7, 2)
    assert (first.memory.available, first.memory.swap_usage, first.memory.swap_limit) == (None, 0, None)
    driver.open("/a").update(Resources(memory=MemoryResources(limit=16 << 20, swap=24 << 20)))
    second = reader.read().memory
    assert second is not None
    assert (second.available, second.swap_limit) == ((16 << 20) - 8_000_000, 8 << 20)
    assert reader.descriptors == 4
    reader.close()
    assert reader.descriptors == 0


def test_v2_usage(tmp_path: Path) -> None:
    driver, _ = fake_v2(tmp_path)
    driver.create("/a", Resources(memory=MemoryResources(limit=16 << 20, swap=24 << 20)))
    reader = driver.usage_reader("/a", pids=True)
    usage = reader.read()
    reader.close()
    assert (usage.cpu_ns, usage.processes, usage.cpu_pressure) == (1000, 1, None)
    assert usage.memory is not None
    assert (usage.memory.working_set, usage.memory.rss, usage.memory.page_faults) == (8_000_000, 4096, 7)
    assert (usage.memory.available, usage.memory.swap_usage, usage.memory.swap_limit) == (
        (16 << 20) - 8_000_000, 0, 8 << 20,
    )  # fmt: skip
    assert usage.memory.pressure is not None
    assert usage.memory.pressure.some.total_ns == 12_000


def test_a_cgroup_that_is_not_there_cannot_be_read_and_leaves_nothing_open(tmp_path: Path) -> None:
    driver, _ = fake_v1(tmp_path)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(CgroupError) as raised:
        driver.usage_reader("/a")
    assert raised.value.errno == errno.ENOENT
    assert os.listdir("/proc/self/fd") == before


@given(st.lists(st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers(0, 1 << 63)), min_size=1))
def test_keyed_numbers_follow_files_whose_lines_change(files: list[dict[bytes, int]]) -> None:
    numbers = KeyedNumbers(b"a", b"c")
    for file in files:
        text = b"".join(b"%s %d\n" % pair for pair in file.items())
        assert numbers.pick(text) == [file.get(b"a", 0), file.get(b"c", 0)]
