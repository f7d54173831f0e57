"""Which readers stay open, and when they are closed."""

from __future__ import annotations

import errno
from typing import cast

import pytest

from cri.usage import UsageReaders
from oci.cgroups import CgroupDriver
from oci.cgroups.usage import Usage
from oci.errors import CgroupError


class Reader:
    descriptors = 3

    def __init__(self, gone: set[str], path: str) -> None:
        self._gone, self._path = gone, path
        self.closed = False

    def read(self) -> Usage:
        assert not self.closed
        if self._path in self._gone:
            raise CgroupError(self._path, "no such device", errno.ENODEV)
        return Usage(1, 2, None)

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Driver:
    def __init__(self) -> None:
        self.opened: list[Reader] = []
        self.gone: set[str] = set()

    def usage_reader(self, path: str, *, pids: bool) -> Reader:
        if path in self.gone:
            raise CgroupError(path, "no such file", errno.ENOENT)
        self.opened.append(Reader(self.gone, path))
        return self.opened[-1]

    def open(self) -> int:
        return sum(not reader.closed for reader in self.opened)


@pytest.fixture
def driver() -> Driver:
    return Driver()


def readers(driver: Driver, budget: int = 100) -> UsageReaders:
    return UsageReaders(cast(CgroupDriver, driver), budget)


def test_a_reader_stays_open_until_its_owner_is_forgotten(driver: Driver) -> None:
    made = readers(driver)
    for _ in range(3):
        assert made.read([("a", "/a"), ("b", "/b")]) == [Usage(1, 2, None)] * 2
    assert len(driver.opened) == 2
    made.forget("a")
    made.forget("never seen")
    assert driver.open() == 1
    made.close()
    assert driver.open() == 0


def test_beyond_the_budget_a_reader_is_closed_after_its_use(driver: Driver) -> None:
    made = readers(driver, budget=7)
    wanted = [(name, f"/{name}") for name in "abcd"]
    for _ in range(2):
        assert None not in made.read(wanted)
    assert driver.open() == 2
    assert len(driver.opened) == 6
    made.forget("a")
    made.read(wanted)
    assert driver.open() == 2


def test_a_cgroup_that_went_is_none_and_its_reader_closed(driver: Driver) -> None:
    made = readers(driver)
    made.read([("a", "/a")])
    driver.gone |= {"/a", "/b"}
    assert made.read([("a", "/a"), ("b", "/b"), ("c", "/c")]) == [None, None, Usage(1, 2, None)]
    assert driver.open() == 1


def test_who_is_forgotten_during_a_reading_is_closed_before_the_next(driver: Driver) -> None:
    made = readers(driver)
    made.read([("a", "/a"), ("b", "/b")])
    with made._busy:  # a reading is under way in a thread
        made.forget("a")
        assert driver.open() == 2
    made.read([])
    assert driver.open() == 1
