"""A config.json as the list of steps that make its container. Pure: the compiler of "compile, then act".

The order is the contract (reference of what each step may rely on):
namespaces, keyring, runtime hooks, root, mounts, devices, console, createContainer hooks, names, sysctls, read-only and
masked paths, pivot | ready, start | cgroup namespace, labels, stdio, hooks, limits, privileges, filter, execve.
"""

from __future__ import annotations

import posixpath

from oci import syscalls as sc
from oci.errors import SpecError, Unsupported
from oci.plan import operations as op
from oci.plan.devices import plan_devices
from oci.plan.host import Host, Supplied
from oci.plan.mount_options import PROPAGATION
from oci.plan.mounts import mount_label, plan_mounts, readonly_later
from oci.plan.namespaces import (
    NamespacePlan,
    check_namespaces,
    enter_namespaces,
    made_by_clone,
    read_namespaces,
    with_own_mappings,
)
from oci.plan.process import check_process, plan_process, selinux_label, warnings
from oci.plan.scheduling import plan_memory_policy, plan_personality
from oci.plan.sysctls import check_sysctls, sysctl_path
from oci.spec import Hooks, Process, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SUPPORTED_MAJOR: Final = "1"
_ROOM_FOR_SETUP: Final = 16 << 20
# crun's, which Podman sets for --group-add keep-groups: the caller's groups instead of the config's.
KEEP_GROUPS: Final = "run.oci.keep_original_groups"


def plan_container(container_id: str, spec: Spec, host: Host, supplied: Supplied) -> op.Plan:
    """Raises `SpecError` or `Unsupported`; nothing has been done then."""
    process = _check(spec, supplied)
    namespaces = read_namespaces(spec.linux)
    spec = with_own_mappings(spec, namespaces, host)
    check_namespaces(spec, namespaces)
    check_sysctls(spec.linux.sysctl, namespaces.own)
    hooks = spec.hooks or Hooks()
    label = mount_label(spec, host)
    filesystems = [*_root(spec, namespaces, supplied), *_filesystems(spec, namespaces, host, supplied)]
    setup = [
        *_sources(filesystems, namespaces, host, label, everything=bool(hooks.create_container)),
        *enter_namespaces(spec, namespaces),
        op.HideFromPeers(),
        *([] if supplied.no_new_keyring else _keyring(container_id, process, host)),
        *([op.AwaitRuntimeHooks()] if hooks.prestart or hooks.create_runtime else []),
        *filesystems,
        *([op.RunContainerHooks(kind="createContainer", directory=supplied.bundle)] if hooks.create_container else []),
        *_identity(spec),
        *_restrictions(spec, label),
        *_enter_root(spec, namespaces, supplied),
        # A startContainer hook may be what brings the program.
        *(
            [op.FindProgram(name=process.args[0], early=True)]
            if supplied.check_program and not hooks.start_container
            else []
        ),
    ]
    finish = [
        *plan_personality(spec.linux.personality),
        *plan_memory_policy(spec.linux.memory_policy),
        *plan_process(
            process,
            spec.linux.seccomp,
            host,
            supplied,
            user_namespace="user" in namespaces.own,
            start_hooks=bool(hooks.start_container),
            keep_groups=spec.annotations.get(KEEP_GROUPS) == "1",
        ),
    ]
    setup, finish = _place_cgroup(setup, finish, spec, namespaces, supplied)
    return op.Plan(
        new_namespaces=made_by_clone(namespaces),
        joined_pid_namespace=namespaces.path("pid"),
        setup=tuple(setup),
        finish=tuple(finish),
        process=process,
        uid_mappings=spec.linux.uid_mappings if "user" in namespaces.new else (),
        gid_mappings=spec.linux.gid_mappings if "user" in namespaces.new else (),
        warnings=warnings(process),
        namespace_paths=namespaces.joined,
    )


def _check(spec: Spec, supplied: Supplied) -> Process:
    if spec.oci_version.split(".")[0] != _SUPPORTED_MAJOR:
        raise SpecError("ociVersion", f"{spec.oci_version!r} is not version {_SUPPORTED_MAJOR}")
    if spec.process is None:
        raise SpecError("process", "is required")
    if spec.root is None and not supplied.rootfs:
        raise SpecError("root", "is required")
    check_process(spec.process)
    if spec.linux.intel_rdt is not None and not supplied.resctrl:
        # Better refused than silently left out.
        raise Unsupported("linux.intelRdt", "only the command line keeps groups in resctrl, pods have none")
    propagation = spec.linux.rootfs_propagation
    if propagation and propagation not in PROPAGATION:
        raise SpecError("linux.rootfsPropagation", f"{propagation!r} is not a propagation mode")
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if value and (len(value.encode(errors="replace")) > 64 or any(character < " " for character in value)):
            raise SpecError(name, "is longer than 64 bytes or contains a control character")
    if spec.domainname and spec.linux.sysctl.get("kernel.domainname", spec.domainname) != spec.domainname:
        raise SpecError("domainname", "contradicts linux.sysctl['kernel.domainname']")
    return spec.process


def _root(spec: Spec, namespaces: NamespacePlan, supplied: Supplied) -> list[op.Operation]:
    path = None if supplied.rootfs or spec.root is None else posixpath.join(supplied.bundle, spec.root.path)
    if "mount" not in namespaces.own:
        if path is None:
            raise SpecError("linux.namespaces", "a root filesystem by descriptor needs a mount namespace")
        return [op.OpenRoot(path=path)]
    # Hooks of this kind work on the container's files by their path, in its mount namespace.
    visible = spec.hooks is not None and spec.hooks.create_container and spec.root is not None
    place = posixpath.join(supplied.bundle, spec.root.path) if visible and spec.root is not None else None
    below, recursive = PROPAGATION.get(spec.linux.rootfs_propagation or "rslave", (sc.MS_SLAVE, True))
    return [op.AttachRoot(path=path, place=place, below=below if recursive else sc.MS_SLAVE)]


def _sources(
    filesystems: list[op.Operation], namespaces: NamespacePlan, host: Host, label: str, *, everything: bool
) -> list[op.Operation]:
    """What must be opened first: all of it by a child that will not be root of the host or that cuts its mounts off
    from their peers, else the binds that stay a peer of their source."""
    if not host.privileged:
        return []  # nothing can be opened before we are root of something
    binds = [step for step in filesystems if isinstance(step, op.MountBind)]
    if "user" not in namespaces.own and not everything:
        shared = tuple(bind for bind in binds if any(flag == sc.MS_SHARED for flag, _ in bind.options.propagation))
        return [op.OpenSources(root=None, binds=shared)] if shared else []
    root = next((step for step in filesystems if isinstance(step, op.AttachRoot) and step.path is not None), None)
    nodes = tuple(step for step in filesystems if isinstance(step, op.MakeDevice) and step.owner is not None)
    return [op.OpenSources(root=root, binds=tuple(binds), nodes=nodes, label=label)]


def _filesystems(spec: Spec, namespaces: NamespacePlan, host: Host, supplied: Supplied) -> list[op.Operation]:
    steps = plan_mounts(spec, namespaces, host, supplied)
    bound = (step for step in steps if isinstance(step, (op.MountBind, op.MountDescriptor)))
    own_dev = not any(step.destination == "/dev" for step in bound)
    if own_dev:
        steps += plan_devices(spec.linux, user_namespace="user" in namespaces.own)
    process = spec.process
    assert process is not None
    steps.append(op.MakeDirectory(path=process.cwd))
    if process.terminal:
        size = process.console_size
        steps.append(
            op.OpenConsole(
                uid=process.user.uid,
                height=size.height if size else 0,
                width=size.width if size else 0,
                bind_console=own_dev,
            )
        )
    return steps + readonly_later(spec, supplied)


def _identity(spec: Spec) -> list[op.Operation]:
    steps: list[op.Operation] = []
    if spec.hostname:
        steps.append(op.SetHostname(name=spec.hostname))
    if spec.domainname:
        steps.append(op.SetDomainname(name=spec.domainname))
    steps += [op.WriteSysctl(path=sysctl_path(name), value=value) for name, value in spec.linux.sysctl.items()]
    return steps


def _keyring(container_id: str, process: Process, host: Host) -> list[op.Operation]:
    """With the container's label, or it could not use its own keyring; execve forgets the order again."""
    return [*selinux_label(process, host, "keycreate"), op.JoinKeyring(name=f"_ses.{container_id}"[:200])]


def _restrictions(spec: Spec, label: str) -> list[op.Operation]:
    steps: list[op.Operation] = [op.ReadonlyPath(path=path) for path in spec.linux.readonly_paths]
    steps += [op.MaskPath(path=path, label=label) for path in spec.linux.masked_paths]
    for index, step in enumerate(steps):
        if not getattr(step, "path").startswith("/"):  # noqa: B009 - the two classes share the attribute, not a base
            raise SpecError("linux.maskedPaths", f"entry {index} is not absolute")
    return steps


def _enter_root(spec: Spec, namespaces: NamespacePlan, supplied: Supplied) -> list[op.Operation]:
    steps: list[op.Operation] = []
    if "mount" not in namespaces.own:
        steps.append(op.ChangeRoot())
        return steps
    steps.append(op.MoveRoot() if supplied.no_pivot else op.PivotRoot())
    if spec.root is not None and spec.root.readonly:
        steps.append(op.MakeRootReadonly())
    if propagation := spec.linux.rootfs_propagation:
        # Of the root only: what lies below has been given its own, and a mount's options are stronger than this.
        steps.append(op.SetRootPropagation(flags=PROPAGATION[propagation][0]))
    return steps


def _place_cgroup(
    setup: list[op.Operation], finish: list[op.Operation], spec: Spec, namespaces: NamespacePlan, supplied: Supplied
) -> tuple[list[op.Operation], list[op.Operation]]:
    """Where the process enters its cgroup, and where the cgroup namespace is made: after that, in the cgroup.

    Early entry lets everything be accounted. With a memory limit so small that our own set-up would not fit, it is the
    last thing before the user's process. The namespace comes right before the first mount that shows it, else last of
    the set-up, or after start where somebody else's slow attach is over only then.
    """
    enter: list[op.Operation] = [op.EnterCgroup()] if supplied.enters else []
    private = "cgroup" in namespaces.new
    first = next((index for index, step in enumerate(setup) if private and _mounts_cgroup(step)), None)
    if first is not None:
        awaiting: list[op.Operation] = [op.AwaitAttach()] if supplied.awaits else []
        return [*enter, *setup[:first], *awaiting, op.UnshareCgroup(), *setup[first:]], finish
    unshare: list[op.Operation] = [op.UnshareCgroup()] if private else []
    if _has_tiny_memory(spec):
        return setup, [*enter, *unshare, *finish]
    if supplied.awaits:
        return [*enter, *setup], [*unshare, *finish]
    return [*enter, *setup, *unshare], finish


def _mounts_cgroup(step: op.Operation) -> bool:
    return isinstance(step, op.MountFilesystem) and step.fstype in ("cgroup", "cgroup2")


def _has_tiny_memory(spec: Spec) -> bool:
    resources = spec.linux.resources
    limit = resources.memory.limit if resources and resources.memory else None
    return limit is not None and 0 <= limit < _ROOM_FOR_SETUP
