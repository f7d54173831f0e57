"""What the hostile suites stand on: a file of the host that traps point at, and a box after which it is as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.containers import Box, make_rootfs

_PRECIOUS = "precious\n"
_MODE = 0o600


def make_victim(directory: Path) -> Path:
    """A directory of the host with one file."""
    victim = directory / "victim"
    victim.mkdir()
    (victim / "file").write_text(_PRECIOUS)
    (victim / "file").chmod(_MODE)
    return victim


@contextmanager
def guarded_box(directory: Path, victim: Path) -> Iterator[Box]:
    """A box with a root file system below `directory`; at the end nothing was added to the victim, nothing changed."""
    made = Box(make_rootfs(directory / "rootfs"))
    yield made
    made.close()
    made.engine.close()
    assert os.listdir(victim) == ["file"]
    assert (victim / "file").read_text() == _PRECIOUS
    assert (victim / "file").stat().st_mode & 0o777 == _MODE
