"""Layers against their seals. Reads every byte of every layer: as long as the disk takes, one layer at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from cri.check.faults import Fault, Looking, Repair

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from imagesvc.layer.files import LayerId
    from imagesvc.service import ImageService

PART: Final = "layers"
_PULL_AGAIN: Final = "remove the image and pull it again; containers that run on it are to be restarted"


async def images(daemon: Daemon) -> AsyncIterator[Looking | Fault]:
    """Faults of layers, those of covers last: a cover is made from the layers below it."""
    service = daemon.images
    layers = sorted(service.layer_ids(), key=lambda layer: (layer.startswith("cover:"), layer))
    for done, layer in enumerate(layers):
        yield Looking(part=PART, done=done, total=len(layers))
        try:
            problem = await service.upkeep.problem(layer)
        except OSError as error:
            problem = f"it cannot be read: {error.strerror}"
        if problem:
            yield _fault(service, layer, problem)
    yield Looking(part=PART, done=len(layers), total=len(layers))
    for image in service.list():
        if problem := service.upkeep.image_problem(image.id):
            yield Fault(subject=f"image {image.id}", problem=problem, remedy=_PULL_AGAIN)


def _fault(service: ImageService, layer: LayerId, problem: str) -> Fault:
    images = [service.find(image.id) for image in service.upkeep.images_of(layer)]
    names = sorted({(*image.repo_tags, *image.repo_digests, image.id)[0] for image in images if image})
    repair: Repair | None = (lambda: service.upkeep.repair(layer)) if names else None
    owners = f" (of {', '.join(names)})" if names else ""
    return Fault(subject=f"layer {layer}{owners}", problem=problem, remedy=_PULL_AGAIN, repair=repair)
