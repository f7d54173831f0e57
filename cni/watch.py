"""Tells when directories change, also ones that do not exist yet. Owns one inotify descriptor in the event loop.

A directory that is missing is awaited at its nearest existing ancestor; each change there moves the watch closer.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from oci import syscalls as sc

_CHANGES: Final = (
    sc.IN_CREATE | sc.IN_CLOSE_WRITE | sc.IN_MOVED_FROM | sc.IN_MOVED_TO | sc.IN_DELETE
    | sc.IN_DELETE_SELF | sc.IN_MOVE_SELF | sc.IN_ONLYDIR
)  # fmt: skip
_EVENT: Final = struct.Struct("=iIII")
_READ_BYTES: Final = 1 << 16


class DirectoryWatch:
    """Calls `on_change` in the event loop, at least once for each change, maybe for none."""

    def __init__(self, directories: Iterable[str], on_change: Callable[[], None]) -> None:
        self._wanted = tuple(Path(directory) for directory in directories)
        self._on_change = on_change
        self._armed: dict[Path, int] = {}
        self._fd = -1

    def start(self) -> None:
        self._fd = sc.inotify_init1()
        self._arm()
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._armed.clear()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        changed = {watch for watch, _ in _events(data)}
        before = set(self._armed)
        relevant = any(path in self._wanted and watch in changed for path, watch in self._armed.items())
        self._arm()
        if relevant or set(self._armed) != before:
            self._on_change()

    def _arm(self) -> None:
        """Watch each wanted directory or its nearest ancestor; again until nothing has moved meanwhile."""
        while True:
            targets = {_nearest(path) for path in self._wanted}
            armed: dict[Path, int] = {}
            for path in targets:
                try:
                    armed[path] = sc.inotify_add_watch(self._fd, path, _CHANGES)
                except FileNotFoundError:
                    break
            else:
                if targets == {_nearest(path) for path in self._wanted}:
                    self._drop(set(self._armed.values()) - set(armed.values()))
                    self._armed = armed
                    return

    def _drop(self, watches: set[int]) -> None:
        for watch in watches:
            try:
                sc.inotify_rm_watch(self._fd, watch)
            except OSError:
                pass  # the kernel dropped it when its directory went


def _nearest(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def _events(data: bytes) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset + _EVENT.size <= len(data):
        watch, mask, _, length = _EVENT.unpack_from(data, offset)
        offset += _EVENT.size + length
        yield watch, mask
