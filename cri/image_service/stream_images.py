"""StreamImages: the list in messages of a bounded size. None is empty; an empty list is a stream without messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from cri.api import runtime_pb2 as api
from cri.image_service.list_images import chosen
from cri.image_service.source import ImageSource
from cri.image_service.views import image_message
from cri.rpc import Call

IMAGES_PER_MESSAGE: Final = 200


async def stream_images(
    daemon: ImageSource, request: api.StreamImagesRequest, call: Call
) -> AsyncIterator[api.StreamImagesResponse]:
    images = chosen(daemon, request.filter)
    for start in range(0, len(images), IMAGES_PER_MESSAGE):
        part = images[start : start + IMAGES_PER_MESSAGE]
        yield api.StreamImagesResponse(images=[image_message(image) for image in part])
