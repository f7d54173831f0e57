"""From an exec request to a child that enters a running container."""

from __future__ import annotations

from oci import syscalls as sc
from oci.engine import outside
from oci.engine.attach import CgroupEntry, prepare_entry
from oci.engine.container import check_preserved
from oci.engine.equipment import Equipment
from oci.engine.filters import filter_program
from oci.engine.hooks import state_document
from oci.engine.listener import send_listener
from oci.engine.namespaces import children_born_in, join_mask
from oci.engine.requests import ExecRequest
from oci.errors import ContainerError
from oci.exits import ExitStack
from oci.handshake import channel
from oci.handshake.duties import Duties
from oci.handshake.launch import Launch, Phase
from oci.init.context import Context
from oci.init.run import run_child
from oci.plan.exec import plan_exec
from oci.plan.host import Supplied
from oci.plan.operations import Plan
from oci.sockets import Socket


def launch_process(equipment: Equipment, request: ExecRequest) -> Launch:
    """The child is on its own from here on; a cgroup it had to be moved into by us, it is in."""
    check_preserved(request.preserved)
    mask = join_mask(equipment.proc, request.pid)
    # Whoever is not root of the host becomes root of the container first.
    reclone = not equipment.host.privileged and bool(mask & sc.CLONE_NEWUSER and mask & sc.CLONE_NEWPID)
    with ExitStack() as opened:
        entry = prepare_entry(request.cgroup, opened)
        plan = _compile(equipment, request, entry, user_namespace=bool(mask & sc.CLONE_NEWUSER), reclone=reclone)
        parent, child = channel.pair()
        opened.callback(child.close)
        failed = opened.enter_context(ExitStack())
        failed.callback(parent.close)
        context = Context(
            channel=channel.ChildChannel(child),
            proc=equipment.proc,
            args=request.process.args,
            env=list(request.process.env),
            stdio=request.stdio,
            seccomp=filter_program(request.seccomp_program, request.spec.linux.seccomp),
            cgroup=entry.tasks,
            container_pidfd=request.pidfd,
            join_mask=mask if reclone else mask & ~sc.CLONE_NEWPID,
        )
        born_inside = bool(mask & sc.CLONE_NEWPID) and not reclone
        pid, pidfd = _clone(equipment, request, plan, context, entry, parent, born_inside=born_inside)
        failed.pop_all()
    launch = Launch(pid=pid, pidfd=pidfd, channel=parent, duties=_duties(equipment, request), warnings=plan.warnings)
    launch.phase = Phase.SETTING_UP if entry.awaits else Phase.FINISHING
    try:
        if not reclone:  # else with the one that takes its place
            outside.adjust(equipment.proc, pid, request.process, user_namespace=bool(mask & sc.CLONE_NEWUSER))
        if entry.awaits and request.cgroup is not None:
            # The child joins the namespaces meanwhile.
            request.cgroup.attach(pid)
    except BaseException:
        launch.abandon()
        raise
    if entry.awaits:
        launch.run_until(Phase.WAITING)
        launch.release()
    return launch


def _compile(
    equipment: Equipment, request: ExecRequest, entry: CgroupEntry, *, user_namespace: bool, reclone: bool
) -> Plan:
    supplied = Supplied(
        enters=bool(entry.tasks),
        awaits=entry.awaits,
        seccomp=request.seccomp_program is not None or request.spec.linux.seccomp is not None,
        preserved=request.preserved,
    )
    return plan_exec(
        request.process, request.spec, equipment.host, supplied, user_namespace=user_namespace, reclone=reclone
    )


def _clone(
    equipment: Equipment,
    request: ExecRequest,
    plan: Plan,
    context: Context,
    entry: CgroupEntry,
    parent: Socket,
    *,
    born_inside: bool,
) -> tuple[int, int]:
    try:
        with children_born_in(equipment.proc, request.pidfd if born_inside else None):
            pid, pidfd = sc.clone3(0, cgroup_fd=entry.into)
            if pid == 0:
                run_child(plan, context, parent, wait=entry.awaits)
    except OSError as error:
        raise ContainerError("exec: join the container", error.errno or 0, str(error.strerror))
    return pid, pidfd


def _duties(equipment: Equipment, request: ExecRequest) -> Duties:
    duties = Duties()
    duties.adopt = lambda pid: outside.adjust(equipment.proc, pid, request.process, user_namespace=True)
    if (profile := request.spec.linux.seccomp) is not None and profile.listener_path:
        state = state_document(request.container_id, "running", request.pid, request.bundle, request.spec.annotations)
        duties.send_listener = lambda pid, fd: send_listener(profile, fd, pid, state)
    return duties
