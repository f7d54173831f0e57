"""Steps that change the host: frozen values that say what they would do, whether it holds already, and do it.

`carry_out` runs one through the journal. A step that holds and was not interrupted leaves no record: what was there
before us is not ours to undo.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.installer.host import Host, Owner, digest, owner_of
from deploy.installer.journal import Before, Edit, Journal, Kind, Phase, Record, Was
from deploy.installer.systemd import Systemd


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The ways to the host that a step needs."""

    host: Host
    systemd: Systemd
    journal: Journal


class Effect(Protocol):
    @property
    def kind(self) -> Kind: ...
    @property
    def path(self) -> str: ...
    @property
    def after(self) -> str: ...
    @property
    def edits(self) -> tuple[Edit, ...]: ...

    def describe(self) -> str: ...
    def holds(self, doors: Doors) -> bool: ...
    def before(self, doors: Doors) -> Before: ...
    def apply(self, doors: Doors) -> None:
        """Repeatable: also from what a kill in the middle of it left."""


def carry_out(effect: Effect, stage: str, doors: Doors) -> bool:
    """Whether anything was done."""
    journal = doors.journal
    standing = journal.latest(effect.kind, effect.path)
    interrupted = standing if standing and standing.phase is Phase.INTENDED else None
    if interrupted is None and effect.holds(doors):
        return False
    before = interrupted.before if interrupted else effect.before(doors)
    # An interrupted step may have changed the file: what its plan says now is no longer what was there before.
    edits = interrupted.edits if interrupted else effect.edits

    def record(number: int) -> Record:
        return Record(
            number=interrupted.number if interrupted else number,
            stage=stage,
            kind=effect.kind,
            path=effect.path,
            before=before,
            after=effect.after,
            edits=edits,
        )

    fresh = interrupted is None and before.was is Was.FILE
    intended = journal.intend(record, doors.host.read(effect.path) if fresh else None)
    effect.apply(doors)
    journal.mark(intended, Phase.DONE)
    return True


def standing_at(host: Host, path: str) -> Before:
    """What is at `path` now."""
    place = host.locate(path)
    try:
        status = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Before()
    if stat.S_ISLNK(status.st_mode):
        return Before(was=Was.LINK, target=os.readlink(place))
    if stat.S_ISDIR(status.st_mode):
        return Before(was=Was.DIRECTORY)
    return Before(was=Was.FILE, digest=digest(place.read_bytes()), owner=owner_of(status))


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDirectory:
    path: str
    mode: int = 0o755
    kind = Kind.DIRECTORY
    after = ""
    edits: tuple[Edit, ...] = ()

    def describe(self) -> str:
        return f"make directory {self.path}"

    def holds(self, doors: Doors) -> bool:
        return doors.host.exists(self.path)

    def before(self, doors: Doors) -> Before:
        return standing_at(doors.host, self.path)

    def apply(self, doors: Doors) -> None:
        doors.host.make_directory(self.path, self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFile:
    path: str
    content: bytes
    mode: int = 0o644
    edits: tuple[Edit, ...] = ()
    """What of it is ours, when the file is shared."""
    unit: bool = False
    """systemd reads it."""

    @property
    def kind(self) -> Kind:
        return Kind.UNIT_FILE if self.unit else Kind.FILE

    @property
    def after(self) -> str:
        return digest(self.content)

    def describe(self) -> str:
        if self.edits:
            return f"set in {self.path}: " + ", ".join(f"{edit.key}={edit.new}" for edit in self.edits)
        return f"write {self.path} ({len(self.content)} bytes)"

    def holds(self, doors: Doors) -> bool:
        return doors.host.read(self.path) == self.content

    def before(self, doors: Doors) -> Before:
        return standing_at(doors.host, self.path)

    def apply(self, doors: Doors) -> None:
        was = standing_at(doors.host, self.path)
        keep = was.owner if was.was is Was.FILE else Owner(mode=self.mode)
        doors.host.write(self.path, self.content, Owner(mode=keep.mode, uid=keep.uid, gid=keep.gid))
        if self.unit:
            doors.systemd.reload()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    path: str
    target: str
    kind = Kind.LINK
    edits: tuple[Edit, ...] = ()

    @property
    def after(self) -> str:
        return self.target

    def describe(self) -> str:
        return f"link {self.path} -> {self.target}"

    def holds(self, doors: Doors) -> bool:
        return self.before(doors).target == self.target

    def before(self, doors: Doors) -> Before:
        return standing_at(doors.host, self.path)

    def apply(self, doors: Doors) -> None:
        doors.host.link(self.path, self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyTree:
    path: str
    source: Path
    identity: str
    kind = Kind.TREE
    edits: tuple[Edit, ...] = ()

    @property
    def after(self) -> str:
        return self.identity

    def describe(self) -> str:
        return f"copy {self.source} to {self.path}"

    def holds(self, doors: Doors) -> bool:
        return doors.host.exists(self.path)

    def before(self, doors: Doors) -> Before:
        return standing_at(doors.host, self.path)

    def apply(self, doors: Doors) -> None:
        if not doors.host.exists(self.path):
            doors.host.copy_tree(self.source, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A directory that the daemon makes by itself: ours to remove if it was not there before."""

    path: str
    kind = Kind.OWNED
    after = ""
    edits: tuple[Edit, ...] = ()

    def describe(self) -> str:
        return f"let the daemon keep its data in {self.path}"

    def holds(self, doors: Doors) -> bool:
        return doors.host.exists(self.path) or doors.journal.latest(self.kind, self.path) is not None

    def before(self, doors: Doors) -> Before:
        return Before()

    def apply(self, doors: Doors) -> None:
        """The daemon does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A unit enabled, and running with what `fingerprint` stands for."""

    path: str
    fingerprint: str
    kind = Kind.UNIT
    edits: tuple[Edit, ...] = ()

    @property
    def after(self) -> str:
        return self.fingerprint

    def describe(self) -> str:
        return f"enable and start {self.path}"

    def holds(self, doors: Doors) -> bool:
        state = doors.systemd.state(self.path)
        last = doors.journal.latest(self.kind, self.path)
        return state.enabled and state.active and last is not None and last.after == self.fingerprint

    def before(self, doors: Doors) -> Before:
        state = doors.systemd.state(self.path)
        return Before(enabled=state.enabled, active=state.active)

    def apply(self, doors: Doors) -> None:
        doors.systemd.enable(self.path)
        if doors.systemd.state(self.path).active:
            doors.systemd.restart(self.path)
        else:
            doors.systemd.start(self.path)
