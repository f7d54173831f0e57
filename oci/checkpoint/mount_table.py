"""/proc/PID/mountinfo as values, and the mount that a path leads to. The parser is pure."""

from __future__ import annotations

import os
from typing import Final

from oci import syscalls as sc
from oci.values import frozen

_ESCAPES: Final = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


@frozen
class MountEntry:
    id: int
    parent: int
    root: str
    mount_point: str
    fstype: str
    options: frozenset[str]


def parse(text: str) -> tuple[MountEntry, ...]:
    entries = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split(" ")
        entries.append(
            MountEntry(
                id=int(fields[0]),
                parent=int(fields[1]),
                root=_plain(fields[3]),
                mount_point=_plain(fields[4]),
                fstype=tail.split(" ")[0],
                options=frozenset(fields[5].split(",")),
            )
        )
    return tuple(entries)


def read(pid: int | str) -> tuple[MountEntry, ...]:
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse(file.read())


def mount_id(fd: int, pid: int | str = "self") -> int:
    """Of the mount that an open descriptor of a process lies on."""
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise OSError(0, "the kernel does not tell the mount of a descriptor")


def mount_point(root: int, path: str, table: dict[int, MountEntry]) -> str | None:
    """Where in its own mount table a container has the mount at `path`, links resolved inside of its root; None when
    there is none right there."""
    try:
        fd = sc.openat2(root, path.lstrip("/") or ".", os.O_PATH, resolve=sc.RESOLVE_IN_ROOT | sc.RESOLVE_NO_MAGICLINKS)
    except OSError:
        return None
    try:
        entry = table.get(mount_id(fd))
        found = os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return entry.mount_point if entry is not None and found == entry.mount_point else None


def _plain(text: str) -> str:
    for escape, character in _ESCAPES:
        text = text.replace(escape, character)
    return text
