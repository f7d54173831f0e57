"""The records in memory, mirrored in SQLite: lookup by unique prefix, and lists that are already serialized.

The memory copy is what every List and Status answers from; each change is written through before it becomes visible.
A record's list entry is serialized once per change, and a list is those bytes joined (`list_bytes`): with hundreds of
pods the kubelet's relist, once a second, costs a join.
"""

from __future__ import annotations

import logging
import sqlite3
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

from cri.errors import InvalidArgument, NotFound
from cri.framing import item

_log: Final = logging.getLogger("cri.state")

MIGRATIONS: Final = (
    """
    CREATE TABLE sandboxes (
        id TEXT PRIMARY KEY, sandbox_id TEXT NOT NULL, state TEXT NOT NULL, config BLOB NOT NULL, facts TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE containers (
        id TEXT PRIMARY KEY, sandbox_id TEXT NOT NULL, state TEXT NOT NULL, config BLOB NOT NULL, facts TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
    "CREATE TABLE health (id INTEGER PRIMARY KEY CHECK (id = 1), seen_at INTEGER NOT NULL) STRICT;",
)

Row = tuple[str, str, str, bytes, str]


class Record(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Record)


class Table(Generic[T]):
    """All records of one kind."""

    def __init__(
        self,
        database: sqlite3.Connection,
        *,
        name: str,
        kind: str,
        to_row: Callable[[T], Row],
        from_row: Callable[[Row], T],
        list_entry: Callable[[T], bytes],
        group: Callable[[T], Hashable],
    ) -> None:
        """`list_entry` serializes a record as its list RPC shows it; b"" keeps it out of lists.

        `group` is what records are looked up by besides their ids (`grouped`); it never changes.
        """
        self._database = database
        self._name = name
        self._kind = kind
        self._to_row = to_row
        self._list_entry = list_entry
        self._group = group
        self._groups: dict[Hashable, dict[str, T]] = {}
        self._records: dict[str, T] = {}
        self._ids: list[str] = []
        self._entries: dict[str, bytes] = {}
        self._joined: bytes | None = None
        #: Called after each change with the record before and after it; None before it was made or after it is gone.
        self.observers: list[Callable[[T | None, T | None], None]] = []
        for row in database.execute(f"SELECT id, sandbox_id, state, config, facts FROM {name}"):
            self._remember(from_row(row))

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def get(self, record_id: str) -> T | None:
        """By the whole id."""
        return self._records.get(record_id)

    def grouped(self, group: Hashable) -> list[T]:
        """Those of one group, in the order in which they were made."""
        return list(self._groups.get(group, {}).values())

    def find(self, prefix: str) -> T | None:
        """By the id or a unique beginning of it; None when there is none. Raises InvalidArgument when ambiguous."""
        if record := self._records.get(prefix):
            return record
        if not prefix:
            return None
        at = bisect_left(self._ids, prefix)
        matches = [i for i in self._ids[at : at + 2] if i.startswith(prefix)]
        if len(matches) > 1:
            raise InvalidArgument(f"{self._kind} id", f"{prefix!r} is the beginning of more than one {self._kind}'s id")
        return self._records[matches[0]] if matches else None

    def need(self, prefix: str) -> T:
        """Like `find`; raises NotFound naming the id."""
        record = self.find(prefix)
        if record is None:
            raise NotFound(self._kind, prefix)
        return record

    def put(self, record: T, *, observed: bool = False) -> T:
        """`observed`: it is so already, whether or not it can be written now; the next change writes it too."""
        try:
            self._database.execute(f"INSERT OR REPLACE INTO {self._name} VALUES (?, ?, ?, ?, ?)", self._to_row(record))
        except sqlite3.Error as error:
            if not observed:
                raise
            _log.error("%s %s: its change cannot be written down: %s", self._kind, record.id, error)
        before = self._records.get(record.id)
        self._remember(record)
        for observer in self.observers:
            observer(before, record)
        return record

    def drop(self, record_id: str) -> None:
        self._database.execute(f"DELETE FROM {self._name} WHERE id = ?", (record_id,))
        before = self._records.pop(record_id, None)
        if before is not None:
            del self._ids[bisect_left(self._ids, record_id)]
            self._entries.pop(record_id, None)
            self._joined = None
            members = self._groups[self._group(before)]
            del members[record_id]
            if not members:
                del self._groups[self._group(before)]
            for observer in self.observers:
                observer(before, None)

    def list_bytes(self, records: Sequence[T] | None = None) -> bytes:
        """A list response whose field 1 repeats the entries: of `records`, or of all."""
        if records is not None:
            return b"".join(self._entries[record.id] for record in records)
        if self._joined is None:
            self._joined = b"".join(self._entries.values())
        return self._joined

    def _remember(self, record: T) -> None:
        if record.id not in self._records:
            insort(self._ids, record.id)
        self._records[record.id] = record
        self._groups.setdefault(self._group(record), {})[record.id] = record
        entry = self._list_entry(record)
        self._entries[record.id] = item(entry) if entry else b""
        self._joined = None
