"""The pods of system tests: of a daemon that the test may restart."""

from __future__ import annotations

from pathlib import Path

from e2e.client import Client
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames
from e2e.pods import PodMaker


class Pods(PodMaker):
    """Pods of one daemon; the client is asked for anew each time, since a test may restart the daemon."""

    def __init__(self, daemon: Daemon, images: ImageNames, *, logs: Path, cgroup: str) -> None:
        super().__init__(images, logs=logs, cgroup=cgroup)
        self.daemon = daemon

    @property
    def client(self) -> Client:
        return self.daemon.client

    def remove_all(self) -> None:
        for sandbox in self._made:
            self.client.stop_pod(sandbox)
            self.client.remove_pod(sandbox)
