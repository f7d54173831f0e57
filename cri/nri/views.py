"""Pods and containers as NRI shows them: pure functions from records and specs to messages."""

from __future__ import annotations

import posixpath
from dataclasses import fields

from cri.nri.api import nri_pb2 as nri
from cri.nri.messages import optionals
from cri.nri.resources import from_cri, from_spec, merge_resources
from cri.state.machine import ContainerState
from cri.state.records import ContainerRecord, SandboxRecord
from oci import spec

_STATES = {
    ContainerState.CREATING: nri.CONTAINER_UNKNOWN,
    ContainerState.CREATED: nri.CONTAINER_CREATED,
    ContainerState.RUNNING: nri.CONTAINER_RUNNING,
    ContainerState.EXITED: nri.CONTAINER_STOPPED,
    ContainerState.REMOVING: nri.CONTAINER_STOPPED,
}


def pod(record: SandboxRecord) -> nri.PodSandbox:
    config = record.config
    linux = config.linux
    message = nri.PodSandbox(
        id=record.id,
        name=config.metadata.name,
        uid=config.metadata.uid,
        namespace=config.metadata.namespace,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.runtime_handler,
        pid=record.init_pid or record.shim_pid,
        ips=record.ips,
        linux=nri.LinuxPodSandbox(
            cgroup_parent=linux.cgroup_parent,
            cgroups_path=record.cgroup,
            namespaces=_pod_namespaces(record),
        ),
    )
    if linux.HasField("overhead"):
        message.linux.pod_overhead.CopyFrom(from_cri(linux.overhead))
    if linux.HasField("resources"):
        message.linux.pod_resources.CopyFrom(from_cri(linux.resources))
    return message


def _pod_namespaces(record: SandboxRecord) -> list[nri.LinuxNamespace]:
    """Those that the pod has for itself: network plugins look for the first. The shim lives in the others."""
    if not record.netns:
        return []
    return [
        nri.LinuxNamespace(type="network", path=record.netns),
        nri.LinuxNamespace(type="uts", path=f"/proc/{record.shim_pid}/ns/uts"),
    ]


def container(record: ContainerRecord, specification: spec.Spec | None) -> nri.Container:
    """`specification` is what it was, or is going to be, made from; None when that is gone."""
    config = record.config
    uid, gid, groups = record.user
    message = nri.Container(
        id=record.id,
        pod_sandbox_id=record.sandbox_id,
        name=config.metadata.name,
        state=_STATES[record.state],
        labels=config.labels,
        annotations=config.annotations,
        pid=record.pid,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        exit_code=record.exit_code,
        status_reason=record.reason,
        status_message=record.message,
        CDI_devices=[nri.CDIDevice(name=device.name) for device in config.CDI_devices],
        user=nri.User(uid=uid, gid=gid, additional_gids=groups),
        image=nri.Image(
            name=record.image_name,
            digest=record.image_ref.rpartition("@")[2] if "@" in record.image_ref else "",
            config_digest=record.image_id,
        ),
    )
    context = config.linux.security_context
    if context.HasField("seccomp"):
        message.linux.seccomp_profile.profile_type = context.seccomp.profile_type  # type: ignore[assignment]
        message.linux.seccomp_profile.localhost_ref = context.seccomp.localhost_ref
    if specification is not None:
        _describe(message, specification)
    if record.resources_bytes:
        merge_resources(message.linux.resources, from_cri(record.resources))
    return message


def _describe(message: nri.Container, specification: spec.Spec) -> None:
    """Everything that a plugin may adjust, as it is now."""
    linux, process = specification.linux, specification.process
    message.annotations.update(specification.annotations)
    message.mounts.extend(
        nri.Mount(
            destination=posixpath.normpath(mount.destination),
            type=mount.type or "",
            source=mount.source or "",
            options=mount.options,
        )
        for mount in specification.mounts
    )
    if specification.hooks is not None:
        message.hooks.CopyFrom(_hooks(specification.hooks))
    if process is not None:
        message.args.extend(map(_text, process.args))
        message.env.extend(map(_text, process.env))
        message.rlimits.extend(nri.POSIXRlimit(type=r.type, hard=r.hard, soft=r.soft) for r in process.rlimits)
        message.user.CopyFrom(
            nri.User(uid=process.user.uid, gid=process.user.gid, additional_gids=process.user.additional_gids)
        )
        if process.oom_score_adj is not None:
            message.linux.oom_score_adj.value = process.oom_score_adj
    message.linux.cgroups_path = linux.cgroups_path or ""
    message.linux.namespaces.extend(nri.LinuxNamespace(type=n.type, path=n.path or "") for n in linux.namespaces)
    message.linux.devices.extend(map(_device, linux.devices))
    message.linux.sysctl.update(linux.sysctl)
    for name, device in linux.net_devices.items():
        message.linux.net_devices[name].name = device.name or ""
    if linux.resources is not None:
        message.linux.resources.CopyFrom(from_spec(linux.resources))


def _text(value: str) -> str:
    """Protobuf wants UTF-8; the bytes of a Secret need not be."""
    return value.encode(errors="surrogateescape").decode(errors="replace")


def _hooks(hooks: spec.Hooks) -> nri.Hooks:
    message = nri.Hooks()
    for field in fields(spec.Hooks):
        for hook in getattr(hooks, field.name):
            entry = getattr(message, field.name).add(path=hook.path, args=hook.args, env=hook.env)
            if hook.timeout is not None:
                entry.timeout.value = hook.timeout
    return message


def _device(device: spec.Device) -> nri.LinuxDevice:
    message = nri.LinuxDevice(path=device.path, type=device.type, major=device.major, minor=device.minor)
    return optionals(message, device, ("file_mode", "uid", "gid"))
