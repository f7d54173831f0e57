"""ImageStatus: one image, by id, tag or digest. An image that is not here is an empty answer, not an error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.image_service.source import ImageSource
from cri.image_service.views import image_message
from cri.rpc import Call

if TYPE_CHECKING:
    from imagesvc.service import Image


async def image_status(daemon: ImageSource, request: api.ImageStatusRequest, call: Call) -> api.ImageStatusResponse:
    if not request.image.image:
        raise InvalidArgument("image.image", "is required")
    image = daemon.images.find(request.image.image)
    if image is None:
        return api.ImageStatusResponse()
    return api.ImageStatusResponse(image=image_message(image), info=_info(image) if request.verbose else None)


def _info(image: Image) -> dict[str, str]:
    """The image's own configuration, under the names that the OCI image specification gives."""
    config = image.config
    spec = {
        "architecture": config.architecture,
        "os": config.os,
        "config": {
            "User": config.user,
            "Env": list(config.env),
            "Entrypoint": list(config.entrypoint),
            "Cmd": list(config.cmd),
            "WorkingDir": config.working_dir,
            "Volumes": list(config.volumes),
            "Labels": dict(config.labels),
            "StopSignal": config.stop_signal,
        },
    }
    return {"info": json.dumps({"imageSpec": spec})}
