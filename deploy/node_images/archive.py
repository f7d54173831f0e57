"""Images as one tar file that every engine loads: an OCI layout with Docker's manifest.json beside its index.

`kind load image-archive` and `ctr images import` read the index and take the name from its annotations; `docker load`
before version 25 reads manifest.json. The same images give the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Final

from deploy.image.document import CONFIG_TYPE, INDEX_TYPE, Descriptor, Image
from deploy.image.layer import EPOCH

_BLOBS: Final = "blobs/sha256"
_NAME: Final = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME: Final = "io.containerd.image.name"


def write_image_archive(target: Path, images: Mapping[str, Image]) -> None:
    """`images` by their full reference, such as HOST/NAME:TAG."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
            written: set[str] = set()
            for image in images.values():
                for digest, size, content in _blobs(image):
                    if digest not in written:
                        written.add(digest)
                        with content:
                            _add(archive, f"{_BLOBS}/{digest.removeprefix('sha256:')}", size, content)
            for name, document in (
                ("index.json", _index(images)),
                ("manifest.json", _docker_manifest(images)),
                ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ):
                data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
                _add(archive, name, len(data), io.BytesIO(data))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _blobs(image: Image) -> Iterable[tuple[str, int, IO[bytes]]]:
    for layer in image.layers:
        yield layer.digest, layer.size, layer.path.open("rb")
    for document in (image.config_document, image.manifest_document):
        yield Descriptor.of("", document).digest, len(document), io.BytesIO(document)


def _index(images: Mapping[str, Image]) -> dict[str, object]:
    manifests = []
    for name, image in images.items():
        manifest = image.manifest
        manifests.append(
            {
                "mediaType": manifest.media_type,
                "digest": manifest.digest,
                "size": manifest.size,
                "platform": {"architecture": image.platform.architecture, "os": image.platform.os},
                "annotations": {_CONTAINERD_NAME: name, _NAME: name.rpartition(":")[2]},
            }
        )
    return {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}


def _docker_manifest(images: Mapping[str, Image]) -> list[dict[str, object]]:
    def place(digest: str) -> str:
        return f"{_BLOBS}/{digest.removeprefix('sha256:')}"

    return [
        {
            "Config": place(Descriptor.of(CONFIG_TYPE, image.config_document).digest),
            "RepoTags": [name],
            "Layers": [place(layer.digest) for layer in image.layers],
        }
        for name, image in images.items()
    ]


def _add(archive: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, EPOCH
    archive.addfile(entry, content)
