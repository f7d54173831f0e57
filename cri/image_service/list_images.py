"""ListImages: from memory, all or the one that the filter names."""

from __future__ import annotations

from cri.api import runtime_pb2 as api
from cri.image_service.source import ImageSource
from cri.image_service.views import image_message
from cri.rpc import Call
from imagesvc.image import Image


async def list_images(daemon: ImageSource, request: api.ListImagesRequest, call: Call) -> api.ListImagesResponse:
    return api.ListImagesResponse(images=[image_message(image) for image in chosen(daemon, request.filter)])


def chosen(daemon: ImageSource, wanted: api.ImageFilter) -> tuple[Image, ...]:
    if not wanted.image.image:
        return daemon.images.list()
    image = daemon.images.find(wanted.image.image)
    return (image,) if image else ()
