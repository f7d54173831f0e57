"""What needs the outer network: packages and layers, fetched into .cache/ before the cluster's namespace is entered."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy.image import Registry
from e2e import debian
from e2e.images.catalog import push_test_images
from e2e.kube import namespace
from e2e.registry import running_registry


def prepare(*pushes: Callable[[Registry], object]) -> None:
    """Pushes the images to a registry that is thrown away: then all of them are in the cache. Outside only."""
    if namespace.inside():
        return
    for package in ("containerd", "runc", "containernetworking-plugins"):
        debian.tree(package)
    with (
        tempfile.TemporaryDirectory(prefix="coracle-kube-") as directory,
        running_registry(Path(directory)) as registry,
    ):
        for push in (push_test_images, *pushes):
            push(registry.client)
