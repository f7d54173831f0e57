"""As much of libmount's Python binding as crun's tests use: find a target in a mountinfo file, read its options."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filesystem:
    target: str
    vfs_options: str
    fs_options: str


class Table:
    """Later mounts lie over earlier ones, so the last with a target counts."""

    def __init__(self, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            self._entries = [_parse(line) for line in file if " - " in line]

    def find_target(self, target: str) -> Filesystem | None:
        return next((entry for entry in reversed(self._entries) if entry.target == target), None)


def _parse(line: str) -> Filesystem:
    head, _, tail = line.rstrip("\n").partition(" - ")
    fields = head.split(" ")
    return Filesystem(fields[4].encode().decode("unicode_escape"), fields[5], tail.split(" ")[2])
