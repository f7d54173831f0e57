"""Directories that are to go: renamed away at once, deleted in a thread.

A rename makes a container's writable layer gone from the caller's view in one step; how many files it holds is nobody's
concern but this thread's. What a crash left behind is deleted at the next start.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

#: How far down a deletion may go with one descriptor and one call for each level.
_DEEP: Final = 200
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Trash:
    def __init__(self, directory: Path) -> None:
        """`directory` lies on the file system of everything that will be thrown in."""
        self._directory = directory
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trash")
        for left in os.listdir(directory):
            self._executor.submit(_delete, directory / left)

    def take(self, path: Path) -> None:
        """Gone when this returns; a path that does not exist is fine. For a thread: a rename may wait for the disk."""
        name = self._directory / uuid.uuid4().hex
        try:
            os.rename(path, name)
        except FileNotFoundError:
            return
        self._executor.submit(_delete, name)

    def room(self, prefix: str) -> Path:
        """An empty directory for work that is removed after it; after a crash the next start does that."""
        return Path(tempfile.mkdtemp(prefix=prefix, dir=self._directory))

    async def close(self) -> None:
        """Waits for deletions under way; what is queued is deleted at the next start."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)


def _delete(path: Path) -> None:
    """What stays (a full or failing disk) is tried again at the next start.

    A container may have nested directories deeper than anybody can descend: the depths are brought up and go first.
    """
    pending = [path]
    while pending:
        here = pending[-1]
        try:
            shutil.rmtree(here, ignore_errors=True)
        except RecursionError:
            pass
        if not os.path.lexists(here):
            pending.pop()
        elif (depths := _bring_up(here)) is not None:
            pending.append(depths)
        else:
            return


def _bring_up(top: Path) -> Path | None:
    """A directory from far below, renamed to stand beside `top`; None where it is not that deep."""
    fd = os.open(top, _DIRECTORY)
    try:
        for _ in range(_DEEP):
            name = _first_directory(fd)
            if name is None:
                return None
            below = os.open(name, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        name = _first_directory(fd)
        if name is None:
            return None
        brought = top.with_name(uuid.uuid4().hex)
        os.rename(name, brought, src_dir_fd=fd)
        return brought
    finally:
        os.close(fd)


def _first_directory(fd: int) -> str | None:
    with os.scandir(fd) as entries:
        return next((entry.name for entry in entries if entry.is_dir(follow_symlinks=False)), None)
