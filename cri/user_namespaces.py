"""Pods whose users are not the host's: the mapping the kubelet chose, and whether this host can keep the promise."""

from __future__ import annotations

import os
from pathlib import Path

from cri.api import runtime_pb2 as api
from imagesvc.errors import LayerError
from imagesvc.mounts import Owners
from imagesvc.service import ImageService
from oci import mounts, syscalls
from oci.engine.userns import IdmapNamespaces
from oci.protocol.messages import SandboxNamespaces
from oci.spec import IdMapping

#: What the probe maps to: no user of the host, no matter which.
_PROBE = IdMapping(container_id=0, host_id=1 << 30, size=1 << 16)


def mapping(options: api.NamespaceOption) -> IdMapping | None:
    """The one mapping, which serves for users and groups (`cri.specgen.validate`); None with the host's users."""
    wanted = options.userns_options.uids
    if not wanted:
        return None
    return IdMapping(container_id=wanted[0].container_id, host_id=wanted[0].host_id, size=wanted[0].length)


def owners(options: api.NamespaceOption, namespaces: SandboxNamespaces | None) -> Owners | None:
    """Whose the files of the pod's images are; None with the host's users."""
    mapped = mapping(options)
    if mapped is None or namespaces is None or namespaces.user_fd is None:
        return None
    return Owners(user_fd=namespaces.user_fd, uid=mapped.host_id, gid=mapped.host_id, size=mapped.size)


def give(fds: tuple[int, ...], options: api.NamespaceOption) -> None:
    """Pipes to the pod's root, who passes them on to the process that shall open them again by name (/dev/stdout)."""
    mapped = mapping(options)
    if mapped is not None:
        for fd in fds:
            os.fchown(fd, mapped.host_id, mapped.host_id)


async def problem(images: ImageService, root: Path) -> str:
    """Why user namespaces cannot be had here; "" when they can.

    They need layers, the volumes' file system (which is taken to be that of `root`) and tmpfs with mapped owners.
    """
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    namespaces = IdmapNamespaces(proc)
    try:
        user_fd = namespaces.get(((_PROBE,), (_PROBE,)))
        await images.check_owners(Owners(user_fd=user_fd, uid=_PROBE.host_id, gid=_PROBE.host_id, size=_PROBE.size))
        for mount in (mounts.clone_tree(syscalls.AT_FDCWD, str(root)), mounts.make_filesystem("tmpfs")):
            with syscalls.closing(mount):
                mounts.set_idmap(mount, user_fd)
    except (OSError, LayerError) as error:
        return str(error)
    finally:
        namespaces.close()
        os.close(proc)
    return ""
