"""Images as the CRI shows them: pure functions from an image to its message."""

from __future__ import annotations

import re
from typing import Final

from cri.api import runtime_pb2 as api
from imagesvc.image import Image

#: uid_t less its last value, which means "no user".
_HIGHEST_UID: Final = 0xFFFF_FFFE


def image_message(image: Image) -> api.Image:
    """The same for every name that the caller may have used, so `spec` does not repeat it."""
    uid, username = user_of(image.config.user)
    return api.Image(
        id=image.id,
        repo_tags=image.repo_tags,
        repo_digests=image.repo_digests,
        size=image.size,
        uid=None if uid is None else api.Int64Value(value=uid),
        username=username,
        pinned=image.pinned,
    )


def user_of(user: str) -> tuple[int | None, str]:
    """(uid, "") or (None, name) of the USER in an image's configuration; its group part is dropped.

    Only plain decimal digits are a uid; what is too big for one is left to be refused as a name.
    """
    name = user.partition(":")[0]
    if re.fullmatch(r"[0-9]{1,10}", name) and int(name) <= _HIGHEST_UID:
        return int(name), ""
    return None, name
