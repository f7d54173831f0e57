"""The image's config document: what a container of it runs by default, and its layers' diffIDs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imagesvc.digest import Digest, parse_digest
from imagesvc.document import parse_document


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The part that a container's specification is made from; names as in image-spec's config.md."""

    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    architecture: str = ""
    os: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDocument:
    config: ImageConfig
    diff_ids: tuple[Digest, ...]


def parse_config(content: bytes) -> ConfigDocument:
    """Raises DocumentError."""
    fields = parse_document(content)
    inner = fields.fields("config")
    rootfs = fields.fields("rootfs")
    diff_ids = []
    for index, text in enumerate(rootfs.texts("diff_ids")):
        try:
            diff_ids.append(parse_digest(text))
        except ValueError as error:
            rootfs.fail(f"diff_ids[{index}]", f"{text[:140]!r}: {error}")
    config = ImageConfig(
        env=inner.texts("Env"),
        entrypoint=inner.texts("Entrypoint"),
        cmd=inner.texts("Cmd"),
        user=inner.text("User", ""),
        working_dir=inner.text("WorkingDir", ""),
        volumes=tuple(inner.fields("Volumes").keys()),
        exposed_ports=tuple(inner.fields("ExposedPorts").keys()),
        labels=inner.text_map("Labels"),
        stop_signal=inner.text("StopSignal", ""),
        architecture=fields.text("architecture", ""),
        os=fields.text("os", ""),
    )
    return ConfigDocument(config=config, diff_ids=tuple(diff_ids))
