"""An image as the daemon sees it: made from the store's records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from imagesvc.config import ImageConfig
from imagesvc.errors import AmbiguousName, InvalidReference
from imagesvc.reference import parse_reference
from imagesvc.store.images import ImageStore
from imagesvc.store.records import ImageId, ImageRecord, Name

_SHORTEST_PREFIX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`id` is "sha256:..." of the config; `size` what its layers and config weigh on this node."""

    id: str
    repo_tags: tuple[str, ...]
    repo_digests: tuple[str, ...]
    size: int
    pinned: bool
    config: ImageConfig


def image_of(store: ImageStore, record: ImageRecord, pinned: Sequence[str]) -> Image:
    names = store.names_of(record.id)
    return Image(
        id=record.id,
        repo_tags=tuple(name.name for name in names if name.is_tag),
        repo_digests=tuple(name.name for name in names if not name.is_tag),
        size=record.config_size + sum(store.layers[layer].size for layer in set(record.layers)),
        pinned=any(is_pinned(name, pinned) for name in names),
        config=record.config,
    )


def is_pinned(name: Name, patterns: Sequence[str]) -> bool:
    """A pattern is a name as people write it, or has `*` for anything."""
    return any(fnmatchcase(name.name, pattern) or _normalised(pattern) == name.name for pattern in patterns)


def find_image(store: ImageStore, name: str) -> ImageId | None:
    """By id, tag, digest, or the beginning of an id. Raises AmbiguousName."""
    if (bare := name.removeprefix("sha256:")) and (exact := ImageId(f"sha256:{bare}")) in store.images:
        return exact
    if known := store.names.get(_normalised(name)):
        return known.image
    if len(bare) < _SHORTEST_PREFIX or bare.strip("0123456789abcdef"):
        return None
    matches = [image for image in store.images if image.startswith(f"sha256:{bare}")]
    if len(matches) > 1:
        raise AmbiguousName(name, matches)
    return matches[0] if matches else None


def _normalised(name: str) -> str:
    """The full form, "" for what is no name."""
    try:
        return str(parse_reference(name))
    except InvalidReference:
        return ""
