"""ImageStatus: one image, by id, tag or digest. An image that is not here is an empty answer, not an error."""

from __future__ import annotations

import json

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.image_service.source import ImageSource
from cri.image_service.views import image_message
from cri.rpc import Call


async def image_status(daemon: ImageSource, request: api.ImageStatusRequest, call: Call) -> api.ImageStatusResponse:
    if not request.image.image:
        raise InvalidArgument("image.image", "is required")
    image = daemon.images.find(request.image.image)
    if image is None:
        return api.ImageStatusResponse()
    info = _info(daemon.images.config_document(image.id)) if request.verbose else None
    return api.ImageStatusResponse(image=image_message(image), info=info)


def _info(config: bytes) -> dict[str, str]:
    """The image's own configuration, as the registry has it."""
    return {"info": json.dumps({"imageSpec": json.loads(config or b"{}")})}
