"""The part of the daemon that the image calls use: its images, as `imagesvc` keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from imagesvc.service import ImageService

    from cri.metrics import Metrics


class ImageSource(Protocol):
    @property
    def images(self) -> ImageService: ...
    @property
    def metrics(self) -> Metrics: ...
