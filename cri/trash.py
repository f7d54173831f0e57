"""Directories that are to go: renamed away at once, deleted in a thread.

A rename makes a container's writable layer gone from the caller's view in one step; how many files it holds is nobody's
concern but this thread's. What a crash left behind is deleted at the next start.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


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

    async def close(self) -> None:
        """Waits for deletions under way; what is queued is deleted at the next start."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)


def _delete(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)  # what stays (a full or failing disk) is tried again at the next start
