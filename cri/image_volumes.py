"""Image volumes (KEP-4639): a whole image, or one directory of it, mounted read-only into a container."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cri import detached_trees
from cri.api import runtime_pb2 as api
from cri.errors import ImageVolumeMountFailed
from cri.specgen.mounts import image_mounts
from imagesvc import threads
from imagesvc.mounts import Owners
from oci import syscalls
from oci.spec import Spec

if TYPE_CHECKING:
    from cri.daemon import Daemon


def volume_images(daemon: Daemon, config: api.ContainerConfig) -> tuple[tuple[str, str], ...]:
    """Container path and image id of each image volume."""
    found = [
        (mount.container_path, daemon.images.find(mount.image.image)) for mount in config.mounts if mount.image.image
    ]
    return tuple((path, image.id) for path, image in found if image is not None)


async def open_image_volumes(
    daemon: Daemon, config: api.ContainerConfig, specification: Spec, directory: Path, owners: Owners | None
) -> dict[int, int]:
    """A detached mount for each image volume, keyed by its index in the specification's mounts.

    The images' layers stay as long as the container's `directory`. Files have the container's label. The caller closes
    the mounts. Raises ImageVolumeMountFailed, whose text begins as the kubelet wants it.
    """
    wanted = image_mounts(config)
    label = specification.linux.mount_label or ""
    opened: dict[int, int] = {}
    try:
        for index, mount in enumerate(specification.mounts):
            if mount.source is None and mount.destination in wanted:
                opened[index] = await _open(daemon, wanted[mount.destination], directory, owners, label)
    except BaseException:
        for fd in opened.values():
            os.close(fd)
        raise
    return opened


async def _open(daemon: Daemon, mount: api.Mount, directory: Path, owners: Owners | None, label: str) -> int:
    image = daemon.images.find(mount.image.image)
    if image is None:
        raise ImageVolumeMountFailed(f"{mount.image.image}: the image is not present")
    whole = await daemon.images.mount_image(image.id, directory, owners=owners, label=label)
    if not mount.image_sub_path:
        return whole
    with syscalls.closing(whole):
        try:
            inside = syscalls.openat2(
                whole,
                mount.image_sub_path,
                os.O_PATH,
                resolve=syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS,
            )
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            raise ImageVolumeMountFailed(
                f"{mount.image.image}: sub path {mount.image_sub_path!r} does not exist in the image"
            ) from error
        with syscalls.closing(inside):
            return await threads.descriptor(lambda: detached_trees.subtree(whole, inside))
