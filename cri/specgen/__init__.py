"""From what the kubelet asks to a runtime-spec: pure functions, values in, a `Spec` out.

Nothing here touches the host: what must be looked up (the user in the image, device numbers, host facts) comes in as
values, so every decision about a container's privileges can be read and tested here without a kernel.

    process     args, environment, working directory, user, capabilities
    mounts      default mounts, the pod's files, volumes
    resources   CPU, memory, pids, huge pages, device rules
    validate    what is refused, with the field's name
"""

from __future__ import annotations

from cri.specgen.inputs import ContainerInputs, HostFacts, PodFiles
from cri.specgen.mounts import container_mounts
from cri.specgen.process import container_process
from cri.specgen.resources import container_resources
from oci import spec
from oci.plan.container import KEEP_GROUPS

__all__ = ["ContainerInputs", "HostFacts", "PodFiles", "container_spec"]


def container_spec(inputs: ContainerInputs) -> spec.Spec:
    """The config.json of one container. Raises InvalidArgument naming the field at fault."""
    security = inputs.config.linux.security_context
    privileged = security.privileged
    users = (inputs.users,) if inputs.users else ()
    return spec.Spec(
        oci_version=spec.VERSION,
        process=container_process(inputs),
        root=spec.Root(path="rootfs", readonly=security.readonly_rootfs),
        mounts=container_mounts(inputs),
        # Whoever writes a pod has no say in which of the runtime's own groups its processes keep.
        annotations={name: text for name, text in inputs.config.annotations.items() if name != KEEP_GROUPS},
        linux=spec.Linux(
            namespaces=_namespaces(inputs),
            # The user namespace itself is the pod's, as its network is: the shim joins it.
            uid_mappings=users,
            gid_mappings=users,
            # No root of a user namespace may make nodes: it gets the host's, as mounts.
            devices=() if users else inputs.devices,
            cgroups_path=inputs.cgroup,
            resources=container_resources(inputs),
            rootfs_propagation=_rootfs_propagation(inputs),
            masked_paths=() if privileged else tuple(security.masked_paths),
            readonly_paths=() if privileged else tuple(security.readonly_paths),
            mount_label=inputs.labels.mount if inputs.labels else None,
        ),
    )


def _namespaces(inputs: ContainerInputs) -> tuple[spec.Namespace, ...]:
    """Only what a container has for itself: network, ipc and uts it inherits from its pod's shim."""
    namespaces = [spec.Namespace(type="mount")]
    if not inputs.host_pid:
        namespaces.append(spec.Namespace(type="pid", path=inputs.pid_namespace or None))
    if inputs.host.cgroup_v2:
        namespaces.append(spec.Namespace(type="cgroup"))
    return tuple(namespaces)


def _rootfs_propagation(inputs: ContainerInputs) -> str | None:
    """A bidirectional mount needs a shared root, a host-to-container one a slave; private otherwise."""
    wanted = {mount.propagation for mount in inputs.config.mounts}
    if 2 in wanted:
        return "rshared"
    return "rslave" if 1 in wanted else None
