"""The store's values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from imagesvc.config import ImageConfig
from imagesvc.digest import Digest
from imagesvc.layer.files import LayerId
from imagesvc.layer.writer import LayerForm, Seal

ImageId = NewType("ImageId", str)
"""Digest of the image's config document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    id: LayerId
    form: LayerForm
    size: int
    inodes: int
    implied: frozenset[bytes] = frozenset()
    opaque_root: bool = False
    seal: Seal | None = None  #: None for a layer that an older version wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """`layers` from the bottom up, a cover among them."""

    id: ImageId
    config: ImageConfig
    layers: tuple[LayerId, ...]
    root_mode: int
    root_uid: int
    root_gid: int
    config_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """`name` has a tag or a digest; `digest` is of the document that it stood for."""

    name: str
    image: ImageId
    digest: Digest

    @property
    def is_tag(self) -> bool:
        return "@" not in self.name
