"""The mounts of a container, in the order in which they are made."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from cri.api import runtime_pb2 as api
from cri.specgen.inputs import ContainerInputs
from oci import spec

_PROPAGATION = {
    api.PROPAGATION_PRIVATE: "rprivate",
    api.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    api.PROPAGATION_BIDIRECTIONAL: "rshared",
}


def container_mounts(inputs: ContainerInputs) -> tuple[spec.Mount, ...]:
    """Kernel file systems first, then the pod's files and the volumes, parents before children.

    A volume at the same place replaces a default mount. Image volumes stand in the list as `bind` mounts without a
    source: the engine is given a descriptor for each (`image_mounts`).
    """
    volumes = {_clean(mount.container_path): mount for mount in inputs.config.mounts}
    defaults = [m for m in (*_defaults(inputs), *_device_mounts(inputs)) if m.destination not in volumes]
    mounts = [_volume(path, mount) for path, mount in volumes.items()]
    mounts += [_declared(path, source) for path, source in inputs.declared_volumes.items()]
    mounts.sort(key=lambda mount: mount.destination.count("/") if mount.destination != "/" else 0)
    return (*defaults, *mounts)


def image_mounts(config: api.ContainerConfig) -> dict[str, api.Mount]:
    """The image volumes of a container by cleaned mount point."""
    return {_clean(m.container_path): m for m in config.mounts if m.HasField("image") and m.image.image}


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _defaults(inputs: ContainerInputs) -> list[spec.Mount]:
    security = inputs.config.linux.security_context
    access = "rw" if security.privileged else "ro"
    safe = ("nosuid", "noexec", "nodev")
    files = inputs.files
    # The pod's files are shared by its containers; a read-only rootfs keeps them from being changed.
    file_access = "ro" if security.readonly_rootfs else "rw"
    # The group tty has to exist in the user namespace.
    terminals = ("gid=5",) if inputs.users is None or inputs.users.size > 5 else ()
    return [
        spec.Mount(destination="/proc", type="proc", source="proc", options=safe),
        spec.Mount(
            destination="/dev", type="tmpfs", source="tmpfs",
            options=("nosuid", "strictatime", "mode=755", "size=65536k"),
        ),
        spec.Mount(
            destination="/dev/pts", type="devpts", source="devpts",
            options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *terminals),
        ),
        spec.Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=safe),
        spec.Mount(destination="/sys", type="sysfs", source="sysfs", options=(*safe, access)),
        spec.Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*safe, "relatime", access)),
        spec.Mount(destination="/dev/shm", type="bind", source=files.shm, options=("rbind", "rw", *safe)),
        *(
            spec.Mount(destination=path, type="bind", source=source, options=("rbind", "rprivate", file_access))
            for path, source in (
                ("/etc/hostname", files.hostname),
                ("/etc/hosts", files.hosts),
                ("/etc/resolv.conf", files.resolv_conf),
            )
        ),
    ]  # fmt: skip


def _device_mounts(inputs: ContainerInputs) -> list[spec.Mount]:
    if inputs.users is None:
        return []
    return [
        spec.Mount(
            destination=device.path,
            type="bind",
            source=inputs.device_sources.get(device.path, device.path),
            options=("bind", "private", "nosuid", "noexec"),
        )
        for device in inputs.devices
        if device.path not in ("/dev/ptmx", "/dev/console")  # these are the container's own terminals
    ]


def _volume(path: str, mount: api.Mount) -> spec.Mount:
    if mount.image.image:
        return spec.Mount(
            destination=path, type="bind", options=("rbind", "ro", "rprivate", *_everywhere(mount.mount_options))
        )
    options = ["rbind", _PROPAGATION[mount.propagation]]
    if mount.recursive_read_only:
        options.append("rro")
    options.append("ro" if mount.readonly else "rw")
    # At the end: of two that contradict each other the later one counts.
    options += _everywhere(mount.mount_options)
    return spec.Mount(
        destination=path,
        type="bind",
        source=mount.host_path,
        options=tuple(options),
        uid_mappings=_mappings(mount.uidMappings),
        gid_mappings=_mappings(mount.gidMappings),
    )


def _everywhere(options: Iterable[str]) -> list[str]:
    """For the mounts below the volume's own as well: nobody who asks for noexec means only the top one."""
    return [one for option in options for one in (option, f"r{option}")]


def _declared(path: str, source: str) -> spec.Mount:
    """A directory of the container's own, filled by its image: no device of it is one."""
    return spec.Mount(destination=path, type="bind", source=source, options=("bind", "private", "nodev"))


def _mappings(mappings: object) -> tuple[spec.IdMapping, ...]:
    return tuple(
        spec.IdMapping(container_id=m.container_id, host_id=m.host_id, size=m.length)
        for m in mappings  # type: ignore[attr-defined]
    )
