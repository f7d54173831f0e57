"""How much a directory tree holds. The tree is a container's: it may be nested without end, and change meanwhile.

A walk by descriptors. Those of the first levels are kept; from further down the way back is "..", taken only while it
leads to where we came from: a container that moves directories about while they are counted is counted less, and no
walk ever leaves the tree.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_KEPT: Final = 64
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Level:
    """A directory on the way down, and its own that were not visited yet. `fd` is -1 where it is not kept."""

    fd: int
    identity: tuple[int, int]
    names: list[str]


@dataclass(slots=True)
class Tally:
    used: int = 0
    inodes: int = 0
    _linked: set[int] = field(default_factory=set)

    def add(self, status: os.stat_result) -> None:
        """A file of several names counts once."""
        if status.st_nlink > 1 and not _is_directory(status):
            if status.st_ino in self._linked:
                return
            self._linked.add(status.st_ino)
        self.used += status.st_blocks * 512
        self.inodes += 1


def measure(top: Path) -> Tally:
    """Nothing for a directory that does not exist (any more)."""
    tally = Tally()
    try:
        fd = os.open(top, _DIRECTORY)
    except FileNotFoundError:
        return tally
    levels: list[_Level] = []
    try:
        tally.add(os.fstat(fd))
        levels.append(_enter(fd, tally))
        while levels:
            _step(levels, tally)
    finally:
        for level in levels:
            if level.fd >= 0:
                os.close(level.fd)
    return tally


def _step(levels: list[_Level], tally: Tally) -> None:
    """One directory down, or one level up."""
    here = levels[-1]
    if here.names:
        name = here.names.pop()
        try:
            below = os.open(name, _DIRECTORY, dir_fd=here.fd)
        except OSError:
            return  # gone, or something else by now
        levels.append(_enter(below, tally))
        # The parent's is given up, unless it is one of the first.
        if len(levels) > _KEPT:
            os.close(here.fd)
            here.fd = -1
        return
    levels.pop()
    if levels and levels[-1].fd < 0:
        _climb(here.fd, levels)
    os.close(here.fd)


def _climb(fd: int, levels: list[_Level]) -> None:
    """The level above gets its descriptor again; if it is not there any more, the nearest one that was kept is next."""
    try:
        above = os.open("..", _DIRECTORY, dir_fd=fd)
    except OSError:
        above = -1
    if above >= 0 and _identity(os.fstat(above)) == levels[-1].identity:
        levels[-1].fd = above
        return
    if above >= 0:
        os.close(above)
    while levels[-1].fd < 0:
        levels.pop()


def _enter(fd: int, tally: Tally) -> _Level:
    """Counts what is in the directory; the descriptor is the level's, or closed."""
    names = []
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                tally.add(status)
                if _is_directory(status):
                    names.append(entry.name)
        return _Level(fd=fd, identity=_identity(os.fstat(fd)), names=names)
    except BaseException:
        os.close(fd)
        raise


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_directory(status: os.stat_result) -> bool:
    return status.st_mode & 0o170000 == 0o040000
