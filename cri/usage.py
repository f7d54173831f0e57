"""Open readers of the cgroups of containers and pods (`oci.cgroups.usage`), as many as the descriptors allow.

The kubelet asks for every container each ten seconds. A reader that stays open saves two thirds of what that costs and
takes three descriptors (v1) to ten (v2): a quarter of those that this process may have is used, and cgroups beyond are
opened each time. Nothing that was read is kept: every answer is what the kernel says when it is asked.

Reading is done in a thread, one batch at a time; `forget` is called from the event loop and never waits for it.
"""

from __future__ import annotations

import errno
import resource
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from oci.cgroups import CgroupDriver
from oci.cgroups.usage import Usage, UsageReader
from oci.errors import CgroupError

_SHARE: Final = 4
_GONE: Final = (errno.ENOENT, errno.ENODEV)


def descriptor_budget() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft // _SHARE


class UsageReaders:
    def __init__(self, driver: CgroupDriver, budget: int | None = None) -> None:
        self._driver = driver
        self._budget = descriptor_budget() if budget is None else budget
        self._readers: dict[str, UsageReader] = {}
        self._held = 0
        self._forgotten: deque[str] = deque()
        self._busy = threading.Lock()

    def read(self, wanted: Iterable[tuple[str, str]], *, pids: bool = False) -> list[Usage | None]:
        """Of the cgroups (owner's id, path); None for one that has gone. Blocks: for a thread."""
        with self._busy:
            self._close_forgotten()
            return [self._read(owner, path, pids) for owner, path in wanted]

    def forget(self, owner: str) -> None:
        """The owner is gone, its descriptors are closed: now, or before the next reading."""
        self._forgotten.append(owner)
        if self._busy.acquire(blocking=False):
            try:
                self._close_forgotten()
            finally:
                self._busy.release()

    def close(self) -> None:
        with self._busy:
            self._forgotten.extend(self._readers)
            self._close_forgotten()

    def _read(self, owner: str, path: str, pids: bool) -> Usage | None:
        try:
            if reader := self._readers.get(owner):
                return reader.read()
            return self._open_and_read(owner, path, pids)
        except CgroupError as error:
            if error.errno not in _GONE:
                raise
            self._drop(owner)
            return None

    def _open_and_read(self, owner: str, path: str, pids: bool) -> Usage:
        reader = self._driver.usage_reader(path, pids=pids)
        if self._held + reader.descriptors <= self._budget:
            self._readers[owner] = reader
            self._held += reader.descriptors
            return reader.read()
        try:
            return reader.read()
        finally:
            reader.close()

    def _close_forgotten(self) -> None:
        while self._forgotten:
            self._drop(self._forgotten.popleft())

    def _drop(self, owner: str) -> None:
        if reader := self._readers.pop(owner, None):
            self._held -= reader.descriptors
            reader.close()
