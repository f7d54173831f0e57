"""The way back of each step, from its record alone, last step first. Repeatable, as the steps are.

A file that somebody else has changed since is not put back whole: if the step had set single settings in it, just
those are taken back; if not, the file stays, and the old bytes are put beside it. Both are reported.
"""

from __future__ import annotations

from collections.abc import Iterable

from deploy.installer.edits import take_back
from deploy.installer.effects import Doors, standing_at
from deploy.installer.errors import InstallError
from deploy.installer.host import Owner, partial_name
from deploy.installer.journal import Before, Kind, Phase, Record, Was

SAVED_SUFFIX = ".before-coracle"


def undo(records: Iterable[Record], doors: Doors) -> list[str]:
    """Undoes `records`, given first step first; answers what the operator has to know."""
    reports = []
    for record in reversed(list(records)):
        report = undo_one(record, doors)
        if report:
            reports.append(report)
        doors.journal.mark(record, Phase.UNDONE)
    return reports


def describe(record: Record) -> str:
    if record.kind is Kind.UNIT:
        state = ", ".join(
            word for word, on in (("enabled", record.before.enabled), ("running", record.before.active)) if on
        )
        return f"put {record.path} back to {state or 'stopped and disabled'}"
    if record.before.was is Was.ABSENT:
        return f"remove {record.path}"
    return f"put {record.path} back as it was"


def undo_one(record: Record, doors: Doors) -> str:
    match record.kind:
        case Kind.FILE:
            return _file(record, doors)
        case Kind.UNIT_FILE:
            report = _file(record, doors)
            doors.systemd.reload()
            return report
        case Kind.LINK:
            return _link(record, doors)
        case Kind.DIRECTORY:
            if record.before.was is Was.ABSENT and not doors.host.remove_directory(record.path):
                return f"{record.path} stays: it holds what is not ours"
        case Kind.TREE | Kind.OWNED:
            if record.before.was is Was.ABSENT:
                _tree(record, doors)
        case Kind.UNIT:
            _unit(record, doors)
    return ""


def _file(record: Record, doors: Doors) -> str:
    host = doors.host
    now = standing_at(host, record.path)
    if _same(now, record.before):
        partial = partial_name(host.locate(record.path))
        if partial.exists():
            host.remove_partial(record.path)
        return ""
    ours = now.was is Was.FILE and now.digest == record.after
    if record.before.was is not Was.FILE:
        return _back_to_no_file(record, doors, ours)
    if ours or now.was is Was.ABSENT:
        host.write(record.path, doors.journal.saved(record), record.before.owner)
        return ""
    if record.edits:
        text = take_back(host.text(record.path), record.edits)
        host.write(record.path, text.encode(), Owner(mode=now.owner.mode, uid=now.owner.uid, gid=now.owner.gid))
        return f"{record.path} was changed since: only our settings were taken out of it"
    beside = record.path + SAVED_SUFFIX
    host.write(beside, doors.journal.saved(record), record.before.owner)
    return f"{record.path} was changed since and stays; what it held before us is in {beside}"


def _back_to_no_file(record: Record, doors: Doors, ours: bool) -> str:
    if record.before.was is Was.LINK:
        doors.host.link(record.path, record.before.target)
        return ""
    if record.edits and not ours:
        rest = take_back(doors.host.text(record.path), record.edits)
        if rest.strip():
            doors.host.write(record.path, rest.encode())
            return f"{record.path} was changed since: only our settings were taken out of it"
    doors.host.remove(record.path)
    return ""


def _link(record: Record, doors: Doors) -> str:
    now = standing_at(doors.host, record.path)
    if now.was is Was.LINK and now.target != record.after and not _same(now, record.before):
        return f"{record.path} stays: it points to {now.target}, which is not ours"
    if record.before.was is Was.LINK:
        doors.host.link(record.path, record.before.target)
    else:
        doors.host.remove(record.path)
    return ""


def _tree(record: Record, doors: Doors) -> None:
    table = doors.host.text("/proc/1/mountinfo")
    mounted = [line.split()[4] for line in table.splitlines() if f" {record.path}/" in line]
    if mounted:
        raise InstallError(f"{record.path} stays: {mounted[0]} is still mounted; unmount it and try again")
    doors.host.remove_tree(record.path)


def _unit(record: Record, doors: Doors) -> None:
    now = doors.systemd.state(record.path)
    if now.active and not record.before.active:
        doors.systemd.stop(record.path)
    if now.enabled and not record.before.enabled:
        doors.systemd.disable(record.path)


def _same(now: Before, before: Before) -> bool:
    return (now.was, now.digest, now.target) == (before.was, before.digest, before.target)
