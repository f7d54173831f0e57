"""What the drivers need of a runtime that they start: Coracle (e2e/daemon.py) or a peer (e2e/containerd.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Runtime(Protocol):
    name: str
    endpoint: str
    log: Path

    def start(self) -> None:
        """Returns once the runtime and its network are ready."""

    def stop(self) -> None:
        """SIGTERM; pods run on. Idempotent."""

    def kill(self) -> None:
        """SIGKILL to the daemon alone."""

    def clean(self) -> None:
        """Removes what the runtime leaves on the machine by design: its bridge, its cgroup. After `stop`."""

    def daemon_pids(self) -> tuple[int, ...]:
        """The daemon and the helpers that there is one of, however many pods run."""

    def monitors(self) -> tuple[int, ...]:
        """What runs beside the daemon for each pod: shims, monitors, pause processes."""

    def version(self) -> str: ...
