"""`oci.originals` and `oci.cpython`, in interpreters of their own: what they change cannot be changed back."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci import cpython, originals, routines

pytestmark = pytest.mark.skipif(routines.load() is None or not cpython.is_known(), reason="CPython 3.11 on x86-64 only")

BEGIN = """
import gc, os, sys, re
from oci import cpython, originals, routines
loaded = routines.load()
cache = cpython.type_cache()
"""
KEEP = (
    BEGIN
    + """
cpython.raise_counts(loaded, cache)
gc.collect(); gc.freeze(); gc.disable()
kept = originals.keep(loaded, cache)

def own():
    text = open("/proc/self/smaps_rollup").read()
    return sum(int(re.search(name + r":\\s+(\\d+)", text)[1]) for name in ("Private_Dirty", "Private_Clean"))

def in_fork(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
"""
)


def run(code: str) -> str:
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fork_gives_up_what_it_only_looked_at() -> None:
    run(
        KEEP
        + """
def work():
    for module in list(sys.modules.values()):
        for value in list(vars(module).values()):
            type(value)
    before = own()
    given = kept.restore()
    assert given > 100, given
    assert own() < before, (before, own())

in_fork(work)
"""
    )


def test_what_has_been_written_stays() -> None:
    run(
        KEEP
        + """
values = {}

def work():
    for round in range(50):
        values.update((f"{round} {number}", [number]) for number in range(200))
        kept.restore()
    assert len(values) == 10000
    assert all(value == [int(name.split()[1])] for name, value in values.items())

in_fork(work)
assert not values
"""
    )


def test_attributes_are_found_after_the_lookups_have_gone_back() -> None:
    """Each round fills the table of lookups anew, with names that come and go."""
    run(
        KEEP
        + """
def work():
    for round in range(300):
        kind = type("Kind", (), {f"name_{round}_{number}": number for number in range(50)})
        for number in range(50):
            assert getattr(kind, f"name_{round}_{number}") == number
            assert getattr(kind(), f"name_{round}_{number}") == number
        for one in (1, "x", b"y", [], {}, kind):
            for name in dir(one):
                getattr(one, name)
        kept.restore()

in_fork(work)
work()
"""
    )


def test_the_file_is_sealed_and_no_descriptor_is_left() -> None:
    run(
        BEGIN
        + """
cpython.raise_counts(loaded, cache)
before = os.listdir("/proc/self/fd")
kept = originals.keep(loaded, cache)
assert os.listdir("/proc/self/fd") == before
lines = [line.split() for line in open("/proc/self/maps") if "coracle-memory" in line]
assert {line[1] for line in lines} == {"rw-p", "r--p"}, lines
"""
    )


def test_the_table_of_lookups_is_where_it_should_be() -> None:
    run(
        BEGIN
        + """
import ctypes, struct
start, end = cache
assert end - start == 4096 * 24
sys._clear_type_cache()
entries = list(struct.iter_unpack("=I4xQQ", ctypes.string_at(start, end - start)))
empty = sum(entry == (0, id(None), 0) for entry in entries)
assert empty > 4000, empty
"""
    )


def test_still_code_is_not_rewritten() -> None:
    run(
        BEGIN
        + """
import ctypes
def called(value):
    return value.real + 1
cpython.still([called.__code__])
def bytes_of(code):
    return ctypes.string_at(id(code) + 48, sys.getsizeof(code) - 48)
before = bytes_of(called.__code__)
for number in range(100):
    assert called(number) == number + 1
assert bytes_of(called.__code__) == before
"""
    )


@given(st.integers(0, 511), st.integers(1, 3), st.integers(0, 3))
def test_no_entry_of_the_lookup_table_goes_back_by_half(offset: int, before: int, after: int) -> None:
    page, entries = mmap.PAGESIZE, 4096
    start = 0x900000
    table = start + before * page + offset * 8
    end_of_table = table + entries * cpython.ENTRY_BYTES
    end = -(-end_of_table // page) * page + after * page
    parts = list(originals._parts(start, end, 7 * page, (table, end_of_table)))
    assert [first for first, _, _ in parts[1:]] == [last for _, last, _ in parts[:-1]]
    assert (parts[0][0], parts[-1][1]) == (start, end)
    (first, last) = next((first, last) for first, last, apart in parts if apart == 0)
    assert first % page == last % page == 0
    assert table <= first < last <= end_of_table
    assert (first - table) % cpython.ENTRY_BYTES == (last - table) % cpython.ENTRY_BYTES == 0
    assert last - first > (entries * cpython.ENTRY_BYTES) - 6 * page
