"""Indexes and manifests, OCI and Docker, from bytes to values. Pure.

A document that could be read as both is refused (image-spec, after CVE-2021-41190). Sizes and digests are checked here,
so that nothing behind this module handles a negative size or an unknown digest algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imagesvc.digest import Digest, parse_digest
from imagesvc.document import Fields, parse_document
from imagesvc.platforms import Platform

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"

INDEX_TYPES: Final = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES: Final = (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIG_TYPES: Final = (OCI_CONFIG, DOCKER_CONFIG)
ACCEPT: Final = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))

_LAYER_TYPES: Final = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_COMPRESSIONS: Final = ("", "+gzip", "+zstd", ".gzip", ".zstd")
_ATTESTATION: Final = "attestation-manifest"
_MOST_LAYERS: Final = 500  # overlayfs stacks no more (OVL_MAX_STACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    attestation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse_manifest(content: bytes, content_type: str = "") -> Index | Manifest:
    """`content_type` is the header of the answer, parameters and all. Raises DocumentError."""
    fields = parse_document(content)
    stated = fields.text("mediaType", "")
    header = content_type.partition(";")[0].strip().lower()
    if stated and header in (*INDEX_TYPES, *MANIFEST_TYPES) and header != stated:
        fields.fail("mediaType", f"is {stated}, but the registry says {header}")
    kind = stated or header
    if fields.integer("schemaVersion", 2) == 1:
        fields.fail("schemaVersion", "1 is obsolete: the image must be pushed again by a current tool")
    if "manifests" in fields and ("layers" in fields or "config" in fields):
        fields.fail("manifests", "the document is both an index and a manifest")
    if kind in INDEX_TYPES or (kind not in MANIFEST_TYPES and "manifests" in fields):
        if "layers" in fields or "config" in fields:
            fields.fail("layers", "an index has none")
        return Index(manifests=tuple(_descriptor(entry) for entry in fields.list_of_fields("manifests")))
    if kind in MANIFEST_TYPES or "config" in fields:
        return _manifest(fields)
    return fields.fail("mediaType", f"{kind!r} is neither an index nor a manifest")


def is_layer_type(media_type: str) -> bool:
    return any(media_type.startswith(known) and media_type[len(known) :] in _COMPRESSIONS for known in _LAYER_TYPES)


def _manifest(fields: Fields) -> Manifest:
    if "manifests" in fields:
        fields.fail("manifests", "a manifest has none")
    if "config" not in fields:
        fields.fail("config", "is missing")
    layers = tuple(_descriptor(entry) for entry in fields.list_of_fields("layers"))
    if len(layers) > _MOST_LAYERS:
        fields.fail("layers", f"{len(layers)} are more than the {_MOST_LAYERS} that can be stacked")
    return Manifest(config=_descriptor(fields.fields("config")), layers=layers)


def _descriptor(fields: Fields) -> Descriptor:
    text = fields.text("digest")
    try:
        digest = parse_digest(text)
    except ValueError as error:
        fields.fail("digest", f"{text[:140]!r}: {error}")
    size = fields.integer("size")
    if not 0 <= size < 1 << 50:
        fields.fail("size", f"{size} is not a size")
    kind = fields.fields("annotations").text("vnd.docker.reference.type", "")
    where = _platform(fields.fields("platform")) if "platform" in fields else None
    return Descriptor(
        media_type=fields.text("mediaType", ""),
        digest=digest,
        size=size,
        platform=where,
        attestation=kind == _ATTESTATION or (where is not None and (where.os, where.architecture) == ("unknown",) * 2),
    )


def _platform(fields: Fields) -> Platform:
    return Platform(
        os=fields.text("os", ""), architecture=fields.text("architecture", ""), variant=fields.text("variant", "")
    )
