"""The layers of an image as overlayfs is given them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imagesvc.layer.files import LayerId
from imagesvc.store.records import LayerRecord


def stack(layers: Sequence[LayerId], records: Mapping[LayerId, LayerRecord]) -> list[LayerRecord]:
    """From the top down. `layers` are from the bottom up.

    A layer that comes twice is kept at its upper place: the lower one shows nothing that the upper does not, and
    overlayfs refuses the same directory twice. Below a layer that hides everything there is nothing.
    """
    found: list[LayerRecord] = []
    seen: set[LayerId] = set()
    for layer in reversed(layers):
        if layer in seen:
            continue
        seen.add(layer)
        record = records[layer]
        found.append(record)
        if record.opaque_root:
            break
    return found
