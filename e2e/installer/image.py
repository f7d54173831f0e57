"""The installer's image as deploy/node_images makes it, with busybox on top for the host tree's systemctl."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deploy.bundle.assemble import Bundle, BundleSettings
from deploy.image import Image, Layer, LayerBuilder, Registry
from deploy.node_images.installer import installer_image
from e2e.images.busybox import add_busybox, static_busybox
from e2e.images.catalog import cached_layer, stamped
from e2e.paths import CACHE

REPOSITORY: Final = "coracle-installer"
TAG: Final = "e2e"


def push_installer(registry: Registry, bundles: Path | None) -> str:
    """`bundles` holds a bundle that is built already, as `make bundle` leaves it in dist/; else one is built."""
    bundle = Bundle(BundleSettings(output=bundles or CACHE / "installer", cache=CACHE / "bundle"))
    if bundles is None or not bundle.root.is_dir():
        bundle.build()
    image = installer_image(bundle, CACHE / "installer-layers")
    layers = [*image.layers, cached_layer(stamped("installer-busybox"), _busybox)]
    registry.push(REPOSITORY, [TAG], Image(layers=layers, config=image.config))
    return f"{registry.address}/{REPOSITORY}:{TAG}"


def _busybox(directory: Path) -> Layer:
    with LayerBuilder(directory) as layer:
        add_busybox(layer, static_busybox())
        return layer.finish()
