"""`oci.originals` and `oci.cpython`, in interpreters of their own: what they change cannot be changed back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oci import routines

pytestmark = pytest.mark.skipif(routines.load() is None, reason="x86-64 only")

BEGIN = """
import gc, os, sys, re
from oci import cpython, originals, routines
loaded = routines.load()
"""
KEEP = (
    BEGIN
    + """
if cpython.counts_come_first(): cpython.raise_counts(loaded)
gc.collect(); gc.freeze(); gc.disable()
kept = originals.keep(loaded)

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
if cpython.counts_come_first(): cpython.raise_counts(loaded)
before = os.listdir("/proc/self/fd")
kept = originals.keep(loaded)
assert os.listdir("/proc/self/fd") == before
lines = [line.split() for line in open("/proc/self/maps") if "coracle-memory" in line]
assert {line[1] for line in lines} == {"rw-p", "r--p"}, lines
"""
    )
