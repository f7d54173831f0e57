"""A bundle as another runtime wants it: what our executor gets as descriptors and inherits stands in it as paths.

<bundle>/
    config.json     rewritten once: namespaces of the pod, sources of image volumes, a version that all know
    rootfs/         the root file system, attached here from create to delete
    volumes/<i>     image volumes, the sources of spec.mounts[i]
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from typing import Final

from oci import syscalls
from oci.errors import Unsupported
from oci.protocol.messages import SandboxNamespaces
from oci.spec import Namespace, Root, Spec, to_json
from oci.values import replace

#: Runtimes refuse versions newer than they are; nothing newer is used without need.
_VERSION: Final = "1.0.2"
_ROOTFS: Final = "rootfs"
_VOLUMES: Final = "volumes"


def adapted(spec: Spec, namespaces: Mapping[str, str], volumes: Mapping[int, str]) -> Spec:
    """`namespaces` is type -> path, `volumes` index into spec.mounts -> source. Pure."""
    own = tuple(one for one in spec.linux.namespaces if one.type not in namespaces)
    pods = tuple(Namespace(type=kind, path=path) for kind, path in namespaces.items())
    mounts = tuple(
        replace(mount, type="bind", source=volumes[index], options=_binding(mount.options))
        if index in volumes
        else mount
        for index, mount in enumerate(spec.mounts)
    )
    return replace(
        spec,
        oci_version=_VERSION,
        root=replace(spec.root or Root(path=_ROOTFS), path=_ROOTFS),
        mounts=mounts,
        linux=replace(spec.linux, namespaces=(*own, *pods)),
    )


def _binding(options: tuple[str, ...]) -> tuple[str, ...]:
    return options if {"bind", "rbind"} & set(options) else ("rbind", *options)


def namespace_paths(namespaces: SandboxNamespaces) -> dict[str, str]:
    """Good for as long as this process lives. Raises Unsupported for a pod with a user namespace."""
    if namespaces.user_fd is not None:
        raise Unsupported("a user namespace", "the pod's containers are run by another runtime")
    fds = {"network": namespaces.net_fd, "ipc": namespaces.ipc_fd, "uts": namespaces.uts_fd}
    return {kind: f"/proc/{os.getpid()}/fd/{fd}" for kind, fd in fds.items() if fd is not None}


def write(bundle: str, spec: Spec) -> None:
    temporary = f"{bundle}/config.json.new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(to_json(spec), file)
    os.rename(temporary, f"{bundle}/config.json")


def attach(bundle: str, rootfs_fd: int | None, mount_fds: Mapping[int, int]) -> dict[int, str]:
    """Sources of the volumes by index. What was attached is taken away by `detach`, also when this fails."""
    if rootfs_fd is not None:
        _attach(rootfs_fd, f"{bundle}/{_ROOTFS}")
    if mount_fds:
        os.mkdir(f"{bundle}/{_VOLUMES}", 0o700)
    sources = {index: f"{bundle}/{_VOLUMES}/{index}" for index in mount_fds}
    for index, fd in mount_fds.items():
        _attach(fd, sources[index])
    return sources


def _attach(fd: int, path: str) -> None:
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.mkdir(path, 0o700)
        flags = os.O_PATH | os.O_DIRECTORY
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        flags = os.O_PATH
    place = os.open(path, flags | os.O_CLOEXEC)
    try:
        syscalls.move_mount(fd, place)
    finally:
        os.close(place)


def is_attached(bundle: str) -> bool:
    """Whether another runtime had the bundle and has not been asked to delete its container."""
    return os.path.lexists(f"{bundle}/{_ROOTFS}")


def detach(bundle: str) -> None:
    """Idempotent. The directories go last: they are what says that there is something to do."""
    volumes = f"{bundle}/{_VOLUMES}"
    if os.path.isdir(volumes):
        for name in os.listdir(volumes):
            _detach(f"{volumes}/{name}")
        os.rmdir(volumes)
    if is_attached(bundle):
        _detach(f"{bundle}/{_ROOTFS}")


def _detach(path: str) -> None:
    try:
        syscalls.umount2(path, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):  # no mount point (any more)
            raise
    if os.path.isdir(path):
        os.rmdir(path)
    else:
        os.unlink(path)
