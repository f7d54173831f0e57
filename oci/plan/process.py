"""`process` of config.json or process.json as the last steps before execve. Pure; the same for init and for exec."""

from __future__ import annotations

from oci import capabilities
from oci.errors import SpecError, Unsupported
from oci.plan import operations as op
from oci.plan.host import Host, Supplied
from oci.plan.rlimits import resolve_rlimits
from oci.plan.scheduling import plan_scheduling
from oci.spec import Capabilities, Process, Seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SECCOMP_FLAGS: Final = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
_SPEC_ALLOW: Final = 4
_MAX_UID: Final = 0xFFFF_FFFE  # the highest value means "leave as it is" to setresuid


def check_process(process: Process, field: str = "process") -> None:
    if not process.args:
        raise SpecError(f"{field}.args", "needs at least the program to execute")
    if not process.cwd.startswith("/"):
        raise SpecError(f"{field}.cwd", f"{process.cwd!r} is not absolute")
    for name, value in (("uid", process.user.uid), ("gid", process.user.gid)):
        if value > _MAX_UID:
            raise SpecError(f"{field}.user.{name}", f"{value} is not a valid id")
    for index, entry in enumerate(process.env):
        if not entry or entry.startswith("="):
            raise SpecError(f"{field}.env[{index}]", f"{entry!r} has no name")
    adjustment = process.oom_score_adj
    if adjustment is not None and not -1000 <= adjustment <= 1000:
        raise SpecError(f"{field}.oomScoreAdj", f"{adjustment} is not between -1000 and 1000")


def plan_process(
    process: Process,
    seccomp: Seccomp | None,
    host: Host,
    supplied: Supplied,
    *,
    user_namespace: bool,
    start_hooks: bool = False,
    keep_groups: bool = False,
) -> list[op.Operation]:
    """Without no_new_privs a filter needs CAP_SYS_ADMIN, so it comes before the privileges go; with it, last of all."""
    user = process.user
    steps: list[op.Operation] = [op.ResetAffinity(), *plan_scheduling(process), *_labels(process, host)]
    if not any(entry.startswith("HOME=") for entry in process.env):
        steps.append(op.SetDefaultHome(uid=user.uid))
    steps.append(op.SetStdio(uid=user.uid, gid=user.gid))
    if start_hooks:
        steps.append(op.RunContainerHooks(kind="startContainer"))
    for name, number, soft, hard in resolve_rlimits(process.rlimits):
        steps.append(op.SetRlimit(name=name, number=number, soft=soft, hard=hard))
    filters = _seccomp(seccomp, supplied)
    # Before any filter: close_range is newer than many a list of allowed calls. We open nothing without close-on-exec.
    steps.append(op.CloseDescriptors(keep=supplied.preserved))
    steps.append(op.ChangeDirectory(path=process.cwd))
    if not process.no_new_privileges:
        steps += filters
    steps.append(_privileges(process, host, user_namespace=user_namespace, keep_groups=keep_groups))
    steps.append(op.ChangeDirectory(path=process.cwd, as_user=True))
    steps.append(op.FindProgram(name=process.args[0]))
    if process.no_new_privileges:
        steps.append(op.SetNoNewPrivileges())
    steps.append(op.ResetSignals())
    if process.no_new_privileges:
        steps += filters
    steps.append(op.Execute(name=process.args[0]))
    return steps


def warnings(process: Process) -> tuple[str, ...]:
    """Unknown capabilities are reported, not refused (config.md, "Linux Process")."""
    sets = process.capabilities or Capabilities()
    names = {*sets.bounding, *sets.effective, *sets.inheritable, *sets.permitted, *sets.ambient}
    return tuple(f"capability {name} is unknown and ignored" for name in sorted(capabilities.unknown(names)))


def _privileges(process: Process, host: Host, *, user_namespace: bool, keep_groups: bool) -> op.SetPrivileges:
    user = process.user
    sets = process.capabilities or Capabilities()
    known = (1 << (host.last_capability + 1)) - 1
    return op.SetPrivileges(
        uid=user.uid,
        gid=user.gid,
        groups=user.additional_gids,
        umask=0o022 if user.umask is None else user.umask,
        bounding=capabilities.mask(sets.bounding) & known,
        effective=capabilities.mask(sets.effective) & known,
        permitted=capabilities.mask(sets.permitted) & known,
        inheritable=capabilities.mask(sets.inheritable) & known,
        ambient=capabilities.mask(sets.ambient) & known,
        keep_groups=keep_groups,
        may_lack_setgroups=user_namespace and not user.additional_gids,
    )


def _seccomp(profile: Seccomp | None, supplied: Supplied) -> list[op.Operation]:
    if not supplied.seccomp:
        return []
    # Without SPEC_ALLOW the kernel turns on speculation mitigations that slow down every system call.
    flags = _SPEC_ALLOW
    notify = False
    if profile is not None:
        if profile.flags:
            flags = 0
        for index, name in enumerate(profile.flags):
            if name not in SECCOMP_FLAGS:
                raise SpecError(f"linux.seccomp.flags[{index}]", f"{name!r} is not a filter flag")
            flags |= SECCOMP_FLAGS[name]
        actions = (profile.default_action, *(rule.action for rule in profile.syscalls))
        notify = "SCMP_ACT_NOTIFY" in actions
        if notify and not profile.listener_path:
            raise SpecError("linux.seccomp.listenerPath", "is required by SCMP_ACT_NOTIFY")
    return [op.InstallSeccomp(flags=flags, notify=notify)]


def _labels(process: Process, host: Host) -> list[op.Operation]:
    steps: list[op.Operation] = []
    if process.apparmor_profile and process.apparmor_profile != "unconfined":
        if "apparmor" not in host.lsm:
            raise Unsupported("process.apparmorProfile", "AppArmor is not active in this kernel")
        steps.append(
            op.SetLsmLabel(module="apparmor", attribute="apparmor/exec", value=f"exec {process.apparmor_profile}")
        )
    return steps + selinux_label(process, host, "exec")


def selinux_label(process: Process, host: Host, attribute: str) -> list[op.Operation]:
    if not process.selinux_label:
        return []
    if "selinux" not in host.lsm:
        raise Unsupported("process.selinuxLabel", "SELinux is not active in this kernel")
    return [op.SetLsmLabel(module="selinux", attribute=attribute, value=process.selinux_label)]
