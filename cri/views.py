"""Records as the CRI shows them: pure functions from a record to its messages."""

from __future__ import annotations

from cri.api import runtime_pb2 as api
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import ContainerRecord, SandboxRecord

_CONTAINER_STATES = {
    ContainerState.CREATED: api.CONTAINER_CREATED,
    ContainerState.RUNNING: api.CONTAINER_RUNNING,
    ContainerState.EXITED: api.CONTAINER_EXITED,
    ContainerState.REMOVING: api.CONTAINER_EXITED,
}


def sandbox_state(record: SandboxRecord) -> api.PodSandboxState.ValueType:
    return api.SANDBOX_READY if record.state is SandboxState.READY else api.SANDBOX_NOTREADY


def container_state(record: ContainerRecord) -> api.ContainerState.ValueType:
    return _CONTAINER_STATES.get(record.state, api.CONTAINER_UNKNOWN)


def sandbox_item(record: SandboxRecord) -> api.PodSandbox:
    config = record.config
    return api.PodSandbox(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.runtime_handler,
    )


def sandbox_entry(record: SandboxRecord) -> bytes:
    """The list entry; b"" while nobody may see it."""
    if record.hidden:
        return b""
    return sandbox_item(record).SerializeToString()


def sandbox_status(record: SandboxRecord) -> api.PodSandboxStatus:
    config = record.config
    status = api.PodSandboxStatus(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.runtime_handler,
        linux=api.LinuxPodSandboxStatus(namespaces=api.Namespace(options=record.namespaces)),
    )
    # The kubelet recreates a pod whose sandbox has no network message; with the host's network it is empty.
    status.network.SetInParent()
    if record.ips and record.state is SandboxState.READY:  # afterwards they may be another pod's
        status.network.ip = record.ips[0]
        status.network.additional_ips.extend(api.PodIP(ip=ip) for ip in record.ips[1:])
    return status


def container_item(record: ContainerRecord) -> api.Container:
    config = record.config
    return api.Container(
        id=record.id,
        pod_sandbox_id=record.sandbox_id,
        metadata=config.metadata,
        image=_image(record),
        image_ref=record.image_ref,
        image_id=record.image_id,
        state=container_state(record),
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
    )


def container_entry(record: ContainerRecord) -> bytes:
    """The list entry; b"" while nobody may see it."""
    if record.hidden:
        return b""
    return container_item(record).SerializeToString()


def container_status(record: ContainerRecord) -> api.ContainerStatus:
    config = record.config
    uid, gid, groups = record.user
    return api.ContainerStatus(
        id=record.id,
        metadata=config.metadata,
        state=container_state(record),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        exit_code=record.exit_code,
        image=_image(record),
        image_ref=record.image_ref,
        image_id=record.image_id,
        reason=record.reason,
        message=record.message,
        labels=config.labels,
        annotations=config.annotations,
        mounts=_mounts(record),
        log_path=record.log_path,
        resources=api.ContainerResources(linux=record.resources),
        user=api.ContainerUser(linux=api.LinuxContainerUser(uid=uid, gid=gid, supplemental_groups=groups)),
        stop_signal=_stop_signal(record.stop_signal),
    )


def _mounts(record: ContainerRecord) -> list[api.Mount]:
    """As they were asked for; image volumes with the image that their name stood for (KEP-5365)."""
    images = dict(record.volume_images)
    mounts = []
    for asked in record.config.mounts:
        mount = api.Mount()
        mount.CopyFrom(asked)
        if image := images.get(mount.container_path):
            mount.image.image_ref = image
        mounts.append(mount)
    return mounts


def _image(record: ContainerRecord) -> api.ImageSpec:
    """What the client asked for, under the name that a person gave it."""
    image = api.ImageSpec()
    image.CopyFrom(record.config.image)
    image.image = record.image_name or image.image
    return image


def _stop_signal(name: str) -> api.Signal.ValueType:
    """The enum's value of "SIGTERM"; an image may name a signal that the CRI has no name for."""
    full = "SIGNAL_" + (name if name.startswith("SIG") else "SIG" + name).replace("+", "PLUS").replace("-", "MINUS")
    return api.Signal.Value(full) if full in set(api.Signal.keys()) else api.SIGNAL_RUNTIME_DEFAULT
