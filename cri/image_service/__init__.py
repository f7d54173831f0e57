"""ImageService: one file per call, and `HANDLERS`, which says which calls there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from cri.image_service.image_fs_info import image_fs_info
from cri.image_service.image_status import image_status
from cri.image_service.list_images import list_images
from cri.image_service.pull_image import pull_image
from cri.image_service.remove_image import remove_image
from cri.image_service.stream_images import stream_images
from cri.rpc import Handler

if TYPE_CHECKING:
    from cri.daemon import Daemon

HANDLERS: Final[Mapping[str, Handler[Daemon]]] = {
    "ListImages": list_images,
    "StreamImages": stream_images,
    "ImageStatus": image_status,
    "PullImage": pull_image,
    "RemoveImage": remove_image,
    "ImageFsInfo": image_fs_info,
}
