"""The one SQLite file, `<root>/state.db`: opening it, and bringing its schema up to date.

WAL with synchronous=NORMAL: a commit costs one write and no fsync, a crash of the daemon loses nothing, a power cut may
lose the last moments but never the file's consistency. The checkpoints, which do wait for the disk, run in a thread
with a connection of its own (`Checkpointer`), so that no RPC ever waits for an fsync.

Each area (sandboxes, images, ...) has a numbered list of scripts; `migrate` applies the ones not yet applied. Scripts
are only ever appended to. A file from a newer Coracle is refused, not guessed at.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from cri.errors import FailedPrecondition

CHECKPOINT_INTERVAL_S = 5.0


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the file; statements commit by themselves unless they stand between BEGIN and COMMIT."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
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
        try:
            while not self._stop.wait(self._interval):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
