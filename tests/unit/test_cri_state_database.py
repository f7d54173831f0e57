"""What a disk's refusals become, and that the database goes on after them."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from pathlib import Path

import grpc
import pytest

from cri.errors import status_of
from cri.state.database import Checkpointer, StateDatabaseFailed, StateDatabaseFull, open_database

_MAGIC = 16  # bytes at the beginning of a database
KEEP = "INSERT INTO kept VALUES (?)"


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    made = open_database(tmp_path / "state.db")
    made.execute("CREATE TABLE kept (content BLOB)")
    return made


def limit(database: sqlite3.Connection, pages: int) -> None:
    """SQLite says "full" at this size as it does when the disk is."""
    database.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_says_so_and_writing_goes_on_once_there_is_space(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    limit(database, 4)
    with pytest.raises(StateDatabaseFull) as caught:
        database.executemany(KEEP, [(b"x" * 1000,)] * 100)
    status = status_of(caught.value)
    assert (status.code, status.unexpected) == (grpc.StatusCode.RESOURCE_EXHAUSTED, False)
    assert str(tmp_path / "state.db") in status.text
    assert "free some" in status.text
    (before,) = database.execute("SELECT count(*) FROM kept").fetchone()
    limit(database, 1000)
    database.execute(KEEP, (b"x" * 1000,))
    assert database.execute("SELECT count(*) FROM kept").fetchone() == (before + 1,)


def test_a_full_disk_during_a_migration_is_named_too(database: sqlite3.Connection) -> None:
    limit(database, 3)
    with pytest.raises(StateDatabaseFull):
        database.executescript("CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x);")


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateDatabaseFailed) as caught:
        open_database(tmp_path / "absent" / "state.db")
    status = status_of(caught.value)
    assert status.code is grpc.StatusCode.UNAVAILABLE
    assert str(tmp_path / "absent" / "state.db") in status.text


def test_a_wrong_statement_stays_what_it_is(database: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("SELECT * FROM nowhere")
    assert not isinstance(caught.value, StateDatabaseFull | StateDatabaseFailed)


def test_checkpoints_that_fail_are_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, path = tmp_path / "whole.db", tmp_path / "state.db"
    database = open_database(whole)
    database.execute("CREATE TABLE kept (content BLOB)")
    database.close()
    path.write_bytes(b"this is no database, and long enough to be taken for one" * 20)
    with caplog.at_level(logging.ERROR):
        checkpointer = Checkpointer(path, interval_s=0.001)
        while "trying on" not in caplog.text:
            time.sleep(0.001)
        # Into the same file: with two of one name open, SQLite truncates what the other has mapped: SIGBUS.
        with path.open("r+b", buffering=0) as file:
            content = whole.read_bytes()
            os.pwrite(file.fileno(), content[_MAGIC:], _MAGIC)
            os.pwrite(file.fileno(), content[:_MAGIC], 0)  # last: until then it stays no database
        database = open_database(path)
        written = path.stat().st_mtime_ns
        while path.stat().st_mtime_ns == written:
            database.execute(KEEP, (b"x" * 20_000,))
        checkpointer.close()
    assert caplog.text.count("trying on") == 1
    database.close()
