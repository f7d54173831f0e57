"""An OCI image layout directory (image-spec 1.1, image-layout).

DIRECTORY/
├── oci-layout          the version of the layout
├── index.json          the tags, each naming a manifest
└── blobs/sha256/       manifests, configs and layers by digest
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from deploy.image.document import Image, index_document


def write_layout(directory: Path, images: Mapping[str, Image]) -> None:
    """Writes `images`, keyed by tag. A directory that is there already is added to, except for its index."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    for image in images.values():
        for layer in image.layers:
            target = blobs / layer.digest.removeprefix("sha256:")
            if not target.exists():
                shutil.copyfile(layer.path, target)
        for document in (image.config_document, image.manifest_document):
            (blobs / hashlib.sha256(document).hexdigest()).write_bytes(document)
    (directory / "index.json").write_bytes(index_document(list(images.values()), list(images)))
