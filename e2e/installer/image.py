"""The installer's image as `make node-images` leaves it, with busybox on top for the host tree's systemctl."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from deploy.image import Layer, LayerBuilder, Platform, Registry
from deploy.node_images.base_image import read_base
from e2e.images.busybox import add_busybox, static_busybox
from e2e.images.catalog import cached_layer, stamped
from e2e.paths import CACHE

REPOSITORY: Final = "coracle-installer"
TAG: Final = "e2e"


def push_installer(registry: Registry, archive: Path) -> None:
    store = CACHE / "installer-image"
    store.mkdir(parents=True, exist_ok=True)
    image = read_base(archive, store, Platform.here().architecture)
    layers = [*image.layers, cached_layer(stamped("installer-busybox"), _busybox)]
    registry.push(REPOSITORY, [TAG], dataclasses.replace(image, layers=layers))


def _busybox(directory: Path) -> Layer:
    with LayerBuilder(directory) as layer:
        add_busybox(layer, static_busybox())
        return layer.finish()
