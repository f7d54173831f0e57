"""The part of the daemon that the image calls use: its images, as `imagesvc` keeps them."""

from __future__ import annotations

from typing import Protocol

from cri.metrics import Metrics
from imagesvc.service import ImageService


class ImageSource(Protocol):
    @property
    def images(self) -> ImageService: ...
    @property
    def metrics(self) -> Metrics: ...
