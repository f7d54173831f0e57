"""What was done to this node: a line for each step, written and synced before the step and after it.

    /var/lib/coracle-deploy/
    ├── journal      JSON, one entry a line; a record's later entry replaces its earlier one
    ├── saved/N      the old bytes of the file that record N changes, whole before the entry names them
    ├── lock         held by the one installer that works
    └── rollback.sh  the way back without this program (switching/script.py)

A record is enough to undo its step: another version of the installer, or one whose plan has changed, can. What a kill
leaves is a record without its `done`: the step is done again, with the old state taken from the record, not from the
half-changed host. A last line without its end is no entry: its step had not begun.

Owns the format and the order of writes. It changes nothing outside its directory.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from deploy.installer import names
from deploy.installer.errors import BrokenRecord, Busy
from deploy.installer.host import Host, Owner, partial_name


class Phase(StrEnum):
    INTENDED = "intended"
    DONE = "done"
    UNDONE = "undone"


class Kind(StrEnum):
    """What a step changes, and so how its record is undone."""

    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"
    TREE = "tree"
    OWNED = "owned"
    UNIT_FILE = "unit-file"
    UNIT = "unit"


class Was(StrEnum):
    """What stood at a path before the step."""

    ABSENT = "absent"
    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    was: Was = Was.ABSENT
    digest: str = ""
    owner: Owner = field(default_factory=Owner)
    target: str = ""
    enabled: bool = False
    active: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One setting that a step changed in a file it shares with others. `old` is None where it was not set."""

    style: str
    key: str
    old: str | None
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    number: int
    stage: str
    kind: Kind
    path: str
    """The path, or the unit's name."""
    before: Before
    after: str
    """Digest of the new bytes, the new target, or what a unit was started with."""
    edits: tuple[Edit, ...] = ()
    phase: Phase = Phase.INTENDED

    @property
    def saved(self) -> str:
        return f"{names.SAVED}/{self.number}"


class Journal:
    """Reads what is there when made. Writing needs `locked`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._records: dict[int, Record] = {}
        self._notes: dict[str, dict[str, str]] = {}
        self.read()

    # -- reading ----------------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return self._host.exists(names.JOURNAL)

    def read(self) -> None:
        self._records.clear()
        self._notes.clear()
        content = self._host.read(names.JOURNAL) or b""
        whole = content[: content.rfind(b"\n") + 1]
        for position, line in enumerate(whole.splitlines(), 1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise BrokenRecord(names.JOURNAL, position, str(error)) from error

    def standing(self, stage: str | None = None) -> list[Record]:
        """What was begun or done and not undone, first step first."""
        return [
            record
            for _, record in sorted(self._records.items())
            if record.phase is not Phase.UNDONE and stage in (None, record.stage)
        ]

    def latest(self, kind: Kind, path: str) -> Record | None:
        """The last step that changed `path`, if it stands."""
        return next((one for one in reversed(self.standing()) if (one.kind, one.path) == (kind, path)), None)

    def note(self, name: str) -> Mapping[str, str]:
        return self._notes.get(name, {})

    # -- writing ----------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """The one that may change this node. Raises Busy when another does, unless it shall `wait` for its end."""
        if not self._host.exists(names.RECORD):
            self._host.make_directory(names.RECORD, 0o700)
        descriptor = os.open(self._host.locate(names.LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Busy("another installer is at work on this node") from None
            self._repair()
            self.read()
            yield
        finally:
            os.close(descriptor)

    def intend(self, record: Callable[[int], Record], saved: bytes | None) -> Record:
        """Writes down a step that is about to begin, the old bytes first."""
        if not self._host.exists(names.SAVED):
            self._host.make_directory(names.SAVED, 0o700)
        made = record(max(self._records, default=0) + 1)
        if saved is not None:
            self._host.write(made.saved, saved, Owner(mode=0o600))
        self._put(made)
        return made

    def mark(self, record: Record, phase: Phase) -> None:
        self._put(dataclasses.replace(record, phase=phase))

    def set_note(self, name: str, **values: str) -> None:
        """A fact that is no step: the state of the switch, whether the node was cordoned before."""
        self._append({"note": name, "values": values})

    def saved(self, record: Record) -> bytes:
        content = self._host.read(record.saved)
        if content is None:
            raise BrokenRecord(names.JOURNAL, record.number, f"{record.saved} is missing")
        return content

    def erase(self) -> None:
        """The last step of an uninstall."""
        self._host.remove_tree(names.RECORD)
        self.read()

    def clear_leftovers(self) -> None:
        """What a kill in `erase` left."""
        if partial_name(self._host.locate(names.RECORD)).exists():
            self._host.remove_tree(names.RECORD)

    def _repair(self) -> None:
        content = self._host.read(names.JOURNAL) or b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._host.truncate(names.JOURNAL, whole)

    def _put(self, record: Record) -> None:
        self._append({"record": dataclasses.asdict(record)})

    def _append(self, entry: dict[str, object]) -> None:
        self._host.append(names.JOURNAL, json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._take(json.loads(json.dumps(entry)))

    def _take(self, entry: dict[str, dict[str, object]]) -> None:
        if "note" in entry:
            self._notes[str(entry["note"])] = {key: str(value) for key, value in entry["values"].items()}
            return
        record = _record(entry["record"])
        self._records[record.number] = record


def _record(entry: dict[str, object]) -> Record:
    before, edits = entry.pop("before"), entry.pop("edits")
    if not isinstance(before, dict) or not isinstance(edits, list):
        raise TypeError("before and edits have the wrong type")
    return Record(
        number=int(str(entry["number"])),
        stage=str(entry["stage"]),
        kind=Kind(str(entry["kind"])),
        path=str(entry["path"]),
        before=Before(**{**before, "was": Was(before["was"]), "owner": Owner(**before["owner"])}),
        after=str(entry["after"]),
        edits=tuple(Edit(**edit) for edit in edits),
        phase=Phase(str(entry["phase"])),
    )
