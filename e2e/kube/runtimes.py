"""The node's runtime: Coracle, or Debian's containerd beside which it is judged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from e2e.client import Client
from e2e.containerd import Peer, PeerSettings
from e2e.daemon import Daemon, DaemonSettings
from e2e.images.catalog import push_test_images
from e2e.kube.settings import POD_RANGE
from e2e.registry import RunningRegistry
from e2e.runtime import Runtime

RUNTIMES: Final = ("coracle", "containerd")


def coracle(directory: Path, **settings: object) -> Daemon:
    """Not started yet."""
    return Daemon(
        DaemonSettings(
            name=f"kube{os.getpid()}",
            directory=directory / "coracle",
            addresses=POD_RANGE,
            **settings,  # type: ignore[arg-type]
        )
    )


def containerd(directory: Path, registry: RunningRegistry) -> Peer:
    return Peer(
        PeerSettings(
            directory=directory / "containerd",
            registry=registry.address,
            sandbox_image=push_test_images(registry.client).pause,
            bridge="co-kube",
            subnet=POD_RANGE,
            mirrors={},
        )
    )


def remove_pods(runtime: Runtime) -> None:
    """The kubelet removes dead sandboxes once a minute; nobody waits for that."""
    with Client(runtime.endpoint) as client:
        client.remove_all()
