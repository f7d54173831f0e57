"""The state database on a disk that fills up: a tmpfs of a few pages."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cri.state.database import StateDatabaseFull, open_database
from oci import syscalls


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    syscalls.mount("tmpfs", place, "tmpfs", 0, "size=512k")
    yield place
    syscalls.umount2(place, syscalls.MNT_DETACH)


def test_a_disk_that_is_full_and_empty_again(disk: Path) -> None:
    database = open_database(disk / "state.db")
    database.execute("CREATE TABLE kept (content BLOB)")
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(1 << 20))
    with pytest.raises(StateDatabaseFull, match=str(disk / "state.db")):
        _keep(database, 100)
    filler.unlink()
    _keep(database, 10)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def _keep(database: sqlite3.Connection, rows: int) -> None:
    for _ in range(rows):
        database.execute("INSERT INTO kept VALUES (?)", (bytes(8000),))
