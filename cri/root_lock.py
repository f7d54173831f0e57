"""One daemon per root and per runroot: a lock on a file in each, held for as long as the process lives.

The lock is the kernel's (flock), so a daemon that was killed leaves none behind. The files say who holds them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from cri.errors import FailedPrecondition

FILE: Final = "coracle.lock"


@contextmanager
def locked(*directories: Path) -> Iterator[None]:
    """Hold the locks of all `directories`, which are made. Raises FailedPrecondition when another process has one."""
    with ExitStack() as held:
        for directory in directories:
            held.enter_context(_locked(directory))
        yield


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise FailedPrecondition(f"{directory} is in use by another coracle (process {holder})") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
