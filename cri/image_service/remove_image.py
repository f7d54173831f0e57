"""RemoveImage: the image with all its names. One that is not here is gone already, which is what was asked for."""

from __future__ import annotations

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.image_service.source import ImageSource
from cri.rpc import Call


async def remove_image(daemon: ImageSource, request: api.RemoveImageRequest, call: Call) -> api.RemoveImageResponse:
    if not request.image.image:
        raise InvalidArgument("image.image", "is required")
    await daemon.images.remove(request.image.image)
    return api.RemoveImageResponse()
