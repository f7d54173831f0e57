"""kind's node image with Coracle as its runtime: a base image, the bundle on top, and the files that name it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from deploy.image import Image, Layer, LayerBuilder
from deploy.node_images import contents

UNIT: Final = "share/systemd/coracle.service"


class BundleIncomplete(Exception):
    """The bundle lacks a file without which a node does not start it."""

    def __init__(self, bundle: Path, name: str) -> None:
        super().__init__(f"bundle {bundle} has no {name}")
        self.bundle = bundle


def kind_image(base: Image, bundle: Path, version: str, layers: Path) -> Image:
    """The base's layers and configuration stay as they are. Raises BundleIncomplete."""
    added = [_bundle_layer(bundle, version, layers), _configuration_layer(bundle, version, layers)]
    return dataclasses.replace(base, layers=[*base.layers, *added])


def _bundle_layer(bundle: Path, version: str, layers: Path) -> Layer:
    with LayerBuilder(layers) as layer:
        layer.tree(bundle, below=f"{contents.INSTALL_ROOT.strip('/')}/{version}")
        return layer.finish()


def _configuration_layer(bundle: Path, version: str, layers: Path) -> Layer:
    unit = bundle / UNIT
    if not unit.is_file():
        raise BundleIncomplete(bundle, UNIT)
    with LayerBuilder(layers) as layer:
        layer.symlink(f"{contents.INSTALL_ROOT}/current", version)
        layer.file("etc/systemd/system/coracle.service", unit)
        for path, text in contents.FILES.items():
            layer.file(path, text)
        for path, target in contents.LINKS.items():
            layer.symlink(path, target)
        for path in contents.HIDDEN:
            layer.whiteout(path)
        return layer.finish()
