"""The one SQLite file, `<root>/state.db`: opening it, and bringing its schema up to date.

WAL with synchronous=NORMAL: a commit costs one write and no fsync, a crash of the daemon loses nothing, a power cut may
lose the last moments but never the file's consistency. The checkpoints, which do wait for the disk, run in a thread
with a connection of its own (`Checkpointer`), so that no RPC ever waits for an fsync.

A full disk is not the end: what could not be written is an error that says so (`StateDatabaseFull`), nothing of it is
kept, and the next write works once there is space again.

Each area (sandboxes, images, ...) has a numbered list of scripts; `migrate` applies the ones not yet applied. Scripts
are only ever appended to. A file from a newer Coracle is refused, not guessed at.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cri.errors import FailedPrecondition, ResourceExhausted, Unavailable

CHECKPOINT_INTERVAL_S = 5.0

_log = logging.getLogger(__name__)


class StateDatabaseFull(ResourceExhausted, sqlite3.OperationalError):
    """`path` is on a file system (or under a quota) without space."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the state database {path} cannot be written: no space is left where it lies; free some there, and the "
            "daemon goes on by itself"
        )
        self.path = path


class StateDatabaseFailed(Unavailable, sqlite3.OperationalError):
    """The disk, the file system or its mount refuses; `problem` is SQLite's word for it."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"the state database {path} cannot be used: {problem}; see whether its disk is well and its file system "
            "can be written to (dmesg, mount)"
        )
        self.path, self.problem = path, problem


class _Connection(sqlite3.Connection):
    """Raises the two errors above where it is the disk's fault."""

    path = Path()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*arguments)
        except sqlite3.OperationalError as error:
            raise _explained(self.path, error) from error

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().executemany(*arguments)
        except sqlite3.OperationalError as error:
            raise _explained(self.path, error) from error

    def executescript(self, script: str) -> sqlite3.Cursor:
        try:
            return super().executescript(script)
        except sqlite3.OperationalError as error:
            raise _explained(self.path, error) from error


def _explained(path: Path, error: sqlite3.OperationalError) -> sqlite3.OperationalError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StateDatabaseFull(path)
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return StateDatabaseFailed(path, str(error))
    return error


def _is_full(path: Path) -> bool:
    """SQLite calls it an I/O error when the shared memory beside the file cannot grow."""
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError as error:
        return error.errno == errno.ENOSPC


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the file; statements commit by themselves unless they stand between BEGIN and COMMIT."""
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=10.0, factory=_Connection
        )
    except sqlite3.OperationalError as error:
        raise _explained(path, error) from error
    connection.path = path
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("CREATE TABLE IF NOT EXISTS schema (area TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT")
    return connection


def migrate(connection: sqlite3.Connection, area: str, scripts: Sequence[str]) -> None:
    """Apply the scripts of `area` that this file has not seen, each with its version number in one transaction.

    Raises FailedPrecondition when the file is newer than this program.
    """
    row = connection.execute("SELECT version FROM schema WHERE area = ?", (area,)).fetchone()
    version = int(row[0]) if row else 0
    if version > len(scripts):
        raise FailedPrecondition(
            f"the state database holds version {version} of {area!r}, this coracle knows {len(scripts)}: "
            "run the newer coracle again, or start with an empty --root"
        )
    for number, script in enumerate(scripts[version:], start=version + 1):
        connection.executescript(f"BEGIN; {script}; INSERT OR REPLACE INTO schema VALUES ('{area}', {number}); COMMIT;")


class Checkpointer:
    """Moves the write-ahead log into the file every few seconds, in a thread that nobody waits for."""

    def __init__(self, path: Path, interval_s: float = CHECKPOINT_INTERVAL_S) -> None:
        self._path = path
        self._interval = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10.0)
        well = True
        try:
            while not self._stop.wait(self._interval):
                try:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                    well = True
                except sqlite3.Error as error:  # the log grows meanwhile; told once
                    if well:
                        _log.error("the log of %s cannot be moved into it, trying on: %s", self._path, error)
                    well = False
        finally:
            connection.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
