"""Security contexts: the pod's defaults, and a container's own that override them."""

from __future__ import annotations

from typing import Final

from cri.api import runtime_pb2 as api
from cri.podspec.reader import ManifestError, Reader

# What the kubelet hides and protects in every container that asks for no other procMount.
MASKED: Final = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_SECCOMP: Final = {
    "RuntimeDefault": api.SecurityProfile.RuntimeDefault,
    "Unconfined": api.SecurityProfile.Unconfined,
    "Localhost": api.SecurityProfile.Localhost,
}


def namespaces(spec: Reader) -> api.NamespaceOption:
    pid = api.POD if spec.flag("shareProcessNamespace", False) else api.CONTAINER
    return api.NamespaceOption(
        network=api.NODE if spec.flag("hostNetwork", False) else api.POD,
        pid=api.NODE if spec.flag("hostPID", False) else pid,
        ipc=api.NODE if spec.flag("hostIPC", False) else api.POD,
    )


def pod_context(spec: Reader) -> api.LinuxSandboxSecurityContext:
    context = spec.table("securityContext")
    message = api.LinuxSandboxSecurityContext(
        namespace_options=namespaces(spec),
        supplemental_groups=context.numbers("supplementalGroups"),
        seccomp=seccomp(context, api.SecurityProfile(profile_type=api.SecurityProfile.Unconfined)),
    )
    if context.has("fsGroup"):
        message.supplemental_groups.append(context.number("fsGroup"))
    _user(message, context, context)
    return message


def container_context(container: Reader, spec: Reader) -> api.LinuxContainerSecurityContext:
    own, pod = container.table("securityContext"), spec.table("securityContext")
    privileged = own.flag("privileged", False)
    capabilities = own.table("capabilities")
    message = api.LinuxContainerSecurityContext(
        namespace_options=namespaces(spec),
        privileged=privileged,
        readonly_rootfs=own.flag("readOnlyRootFilesystem", False),
        no_new_privs=not own.flag("allowPrivilegeEscalation", True),
        capabilities=api.Capability(
            add_capabilities=capabilities.texts("add"), drop_capabilities=capabilities.texts("drop")
        ),
        supplemental_groups=pod_context(spec).supplemental_groups,
        seccomp=seccomp(own, pod_context(spec).seccomp),
        masked_paths=() if privileged else MASKED,
        readonly_paths=() if privileged else READ_ONLY,
    )
    _user(message, own, pod)
    return message


def seccomp(context: Reader, default: api.SecurityProfile) -> api.SecurityProfile:
    if not context.has("seccompProfile"):
        return default
    profile = context.table("seccompProfile")
    kind = profile.text("type")
    if kind not in _SECCOMP:
        raise ManifestError(profile.where("type"), f"{kind!r} is none of {', '.join(_SECCOMP)}")
    path = profile.text("localhostProfile", "") if kind == "Localhost" else ""
    return api.SecurityProfile(profile_type=_SECCOMP[kind], localhost_ref=path)


def _user(
    message: api.LinuxSandboxSecurityContext | api.LinuxContainerSecurityContext, own: Reader, pod: Reader
) -> None:
    """A container's own user wins over the pod's; a group needs a user."""
    user = own if own.has("runAsUser") else pod
    group = own if own.has("runAsGroup") else pod
    if user.has("runAsUser"):
        message.run_as_user.value = user.number("runAsUser")
    if group.has("runAsGroup"):
        if not user.has("runAsUser"):
            raise ManifestError(group.where("runAsGroup"), "needs a runAsUser")
        message.run_as_group.value = group.number("runAsGroup")
