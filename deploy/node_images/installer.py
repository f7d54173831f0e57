"""The installer's image: a bundle and, beside it, the client of the API server. No shell, no distribution.

/payload/            the bundle, which is what gets installed; its own interpreter runs the installer
/installer-site/     kubernetes and what it needs beyond the bundle's packages
/tmp, /etc/passwd    what programs expect
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from deploy.bundle.assemble import Bundle
from deploy.image import Image, ImageConfig, Layer, LayerBuilder

PAYLOAD: Final = "payload"
SITE: Final = "installer-site"
CONFIG: Final = ImageConfig(
    env=(f"PATH=/{PAYLOAD}/bin",),
    entrypoint=(f"/{PAYLOAD}/bin/coracle-installer",),
    cmd=("--help",),
    working_dir="/",
    labels={
        "org.opencontainers.image.title": "coracle-installer",
        "org.opencontainers.image.description": "puts Coracle on a node of a cluster, and takes it back",
        "org.opencontainers.image.licenses": "Apache-2.0",
    },
)


def installer_image(bundle: Bundle, layers: Path) -> Image:
    """Of a bundle that is built; `layers` receives the blobs. Wheels that are not in the store are fetched."""
    with tempfile.TemporaryDirectory(prefix="installer-site-") as directory:
        site = bundle.companion_site(Path(directory) / SITE, bundle.project.extras["deploy"])
        return Image(layers=[_payload_layer(bundle.root, layers), _site_layer(site, layers)], config=CONFIG)


def _payload_layer(root: Path, layers: Path) -> Layer:
    with LayerBuilder(layers) as layer:
        layer.directory("tmp", 0o1777)
        layer.file("etc/passwd", "root:x:0:0:root:/:/nonexistent\n")
        layer.file("etc/group", "root:x:0:\n")
        layer.tree(root, below=PAYLOAD)
        return layer.finish()


def _site_layer(site: Path, layers: Path) -> Layer:
    with LayerBuilder(layers) as layer:
        layer.tree(site, below=SITE)
        return layer.finish()
