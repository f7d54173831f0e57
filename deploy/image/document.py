"""The JSON documents of an image: config, manifest and index (image-spec 1.1). Values in, bytes out.

The bytes are canonical (sorted keys, no spaces), so the same image has the same digests on every machine.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from deploy.image.layer import EPOCH, Layer

CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"

_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    architecture: str
    os: str = "linux"

    @classmethod
    def here(cls) -> Platform:
        machine = platform.machine()
        return cls(architecture=_MACHINES.get(machine, machine))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What a container of the image runs by default."""

    env: Sequence[str] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    entrypoint: Sequence[str] = ()
    cmd: Sequence[str] = ()
    user: str = ""
    working_dir: str = ""
    volumes: Sequence[str] = ()
    exposed_ports: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    media_type: str
    digest: str
    size: int

    @classmethod
    def of(cls, media_type: str, content: bytes) -> Descriptor:
        return cls(media_type=media_type, digest=f"sha256:{hashlib.sha256(content).hexdigest()}", size=len(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One platform's image: its layers, bottom first, and the two documents that describe them."""

    layers: Sequence[Layer]
    config: ImageConfig = ImageConfig()
    platform: Platform = field(default_factory=Platform.here)

    @property
    def config_document(self) -> bytes:
        created = datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return _canonical(
            {
                "created": created,
                "architecture": self.platform.architecture,
                "os": self.platform.os,
                "config": _config_section(self.config),
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
                "history": [{"created": created, "created_by": "coracle image writer"} for _ in self.layers],
            }
        )

    @property
    def manifest_document(self) -> bytes:
        config = Descriptor.of(CONFIG_TYPE, self.config_document)
        return _canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": _reference(config),
                "layers": [
                    _reference(Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size))
                    for layer in self.layers
                ],
            }
        )

    @property
    def manifest(self) -> Descriptor:
        return Descriptor.of(MANIFEST_TYPE, self.manifest_document)

    @property
    def id(self) -> str:
        """The digest of the config: what CRI calls the image's id."""
        return Descriptor.of(CONFIG_TYPE, self.config_document).digest


def index_document(images: Sequence[Image], tags: Sequence[str] = ()) -> bytes:
    """An index of `images`, one a platform; with `tags` (as many as images) it is the index of a layout."""
    manifests = []
    for position, image in enumerate(images):
        entry: dict[str, object] = {
            **_reference(image.manifest),
            "platform": {"architecture": image.platform.architecture, "os": image.platform.os},
        }
        if tags:
            entry["annotations"] = {"org.opencontainers.image.ref.name": tags[position]}
        manifests.append(entry)
    return _canonical({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests})


def _config_section(config: ImageConfig) -> dict[str, object]:
    section: dict[str, object] = {
        "Env": list(config.env),
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "User": config.user,
        "WorkingDir": config.working_dir,
        "Volumes": {path: {} for path in config.volumes},
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
    }
    return {key: value for key, value in section.items() if value}


def _reference(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def _canonical(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
