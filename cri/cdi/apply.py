"""CDI edits done to an OCI specification. Pure: a node's numbers have been looked up before (`catalog.complete`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from cri.cdi.document import ContainerEdits, DeviceNode, Mount
from oci import spec

_HOOK_FIELDS: Final = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}


def apply(base: spec.Spec, edits: Iterable[ContainerEdits]) -> spec.Spec:
    """Edits in their order; what comes later, at the same name or place, wins."""
    for edit in edits:
        base = _apply(base, edit)
    return base


def _apply(base: spec.Spec, edit: ContainerEdits) -> spec.Spec:
    process = base.process
    if process is not None:
        user = process.user
        groups = dict.fromkeys((*user.additional_gids, *(gid for gid in edit.additional_gids if gid)))
        process = replace(
            process, env=_merge_env(process.env, edit.env), user=replace(user, additional_gids=tuple(groups))
        )
    result = replace(
        base,
        process=process,
        mounts=_merge_mounts(base.mounts, [_mount(mount) for mount in edit.mounts]),
        hooks=_merge_hooks(base.hooks, edit),
        linux=replace(
            base.linux,
            intel_rdt=edit.intel_rdt or base.linux.intel_rdt,
            net_devices={
                **base.linux.net_devices,
                **{device.host_interface_name: spec.NetDevice(name=device.name) for device in edit.net_devices},
            },
        ),
    )
    return _add_devices(result, edit.device_nodes)


def _merge_env(env: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    variables = {entry.partition("=")[0]: entry for entry in env}
    variables |= {entry.partition("=")[0]: entry for entry in more}
    return tuple(variables.values())


def _mount(mount: Mount) -> spec.Mount:
    options = mount.options
    if not mount.type and not {"bind", "rbind"} & set(options):
        options = ("rbind", *options)
    return spec.Mount(
        destination=mount.container_path, type=mount.type or None, source=mount.host_path, options=options
    )


def _merge_mounts(mounts: Sequence[spec.Mount], more: Sequence[spec.Mount]) -> tuple[spec.Mount, ...]:
    """At the end, but before what lies below them, so that nothing is hidden."""
    places = {mount.destination for mount in more}
    merged = [mount for mount in mounts if mount.destination not in places]
    for mount in more:
        below = mount.destination.rstrip("/") + "/"
        position = next((i for i, other in enumerate(merged) if other.destination.startswith(below)), len(merged))
        merged.insert(position, mount)
    return tuple(merged)


def _merge_hooks(hooks: spec.Hooks | None, edit: ContainerEdits) -> spec.Hooks | None:
    if not edit.hooks:
        return hooks
    merged = hooks or spec.Hooks()
    for hook in edit.hooks:
        field = _HOOK_FIELDS[hook.hook_name]
        added = spec.Hook(path=hook.path, args=hook.args, env=hook.env or None, timeout=hook.timeout)
        merged = replace(merged, **{field: (*getattr(merged, field), added)})
    return merged


def _add_devices(base: spec.Spec, nodes: Sequence[DeviceNode]) -> spec.Spec:
    if not nodes:
        return base
    linux = base.linux
    resources = linux.resources or spec.Resources()
    rules = [_rule(node) for node in nodes if node.type != "p"]
    linux = replace(linux, resources=replace(resources, devices=(*resources.devices, *rules)))
    if linux.uid_mappings:
        # No root of a user namespace may make nodes: it gets the host's, as mounts.
        binds = [
            spec.Mount(
                destination=node.path,
                type="bind",
                source=node.host_path or node.path,
                options=("bind", "private", "nosuid", "noexec"),
            )
            for node in nodes
        ]
        return replace(base, linux=linux, mounts=_merge_mounts(base.mounts, binds))
    paths = {node.path for node in nodes}
    kept = [device for device in linux.devices if device.path not in paths]
    made = [_device(node, base.process) for node in nodes]
    return replace(base, linux=replace(linux, devices=(*kept, *made)))


def _rule(node: DeviceNode) -> spec.DeviceRule:
    kind = "b" if node.type == "b" else "c"
    return spec.DeviceRule(allow=True, type=kind, major=node.major, minor=node.minor, access=node.permissions or "rwm")


def _device(node: DeviceNode, process: spec.Process | None) -> spec.Device:
    """A node without an owner of its own belongs to the container's user."""
    user = process.user if process else spec.User()
    return spec.Device(
        path=node.path,
        type=node.type,
        major=node.major or 0,
        minor=node.minor or 0,
        file_mode=node.file_mode,
        uid=user.uid if node.uid is None else node.uid,
        gid=user.gid if node.gid is None else node.gid,
    )
