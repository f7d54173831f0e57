"""Kills whoever works on the node, once in every stage that the record comes to.

The record is read as it grows: its first step of a stage that is begun or undone, and every new state of the switch.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Final, Self

from e2e.installer.host import HostTree
from e2e.installer.systemd import pids_of

_JOURNAL: Final = "/var/lib/coracle-deploy/journal"
_PHASES: Final = ("intended", "undone")
#: Words of the pod's command lines and of the host's. A pod that only stays has none of them.
_WORKERS: Final = (
    *("install --payload=/payload", "switch --payload=/payload", "uninstall --stay="),
    *("host-switch", "host-rollback"),
)


class Killer:
    def __init__(self, tree: HostTree) -> None:
        self.hit: list[str] = []
        """The places in which somebody was killed."""
        self._tree = tree
        self._seen: set[str] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ending.wait(0.005):
            for place in self._places():
                if place not in self._seen:
                    self._seen.add(place)
                    if _kill():
                        self.hit.append(place)

    def _places(self) -> Iterator[str]:
        for line in self._tree.read(_JOURNAL).split("\n")[:-1]:
            entry = json.loads(line)
            if record := entry.get("record"):
                if record["phase"] in _PHASES:
                    yield f"{record['stage']} {record['phase']}"
            elif state := entry["values"].get("state"):
                yield f"{entry['note']} {state}"


def _kill() -> bool:
    pids = {pid for words in _WORKERS for pid in pids_of(words)}
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(pids)
