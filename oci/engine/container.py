"""From a create request to a child that sets its container up."""

from __future__ import annotations

import os

from oci import syscalls as sc
from oci.engine import attach, outside
from oci.engine.attach import CgroupEntry, prepare_entry
from oci.engine.equipment import Equipment
from oci.engine.filters import STRICT, filter_program
from oci.engine.hooks import run_hooks, state_document
from oci.engine.listener import send_listener
from oci.engine.namespaces import children_born_in, open_namespaces
from oci.engine.requests import Attach, CreateRequest
from oci.engine.userns import write_mappings
from oci.errors import ContainerError, SpecError
from oci.exits import ExitStack
from oci.handshake import channel
from oci.handshake.duties import Duties
from oci.handshake.launch import Launch
from oci.init.context import Context, Mappings
from oci.init.run import run_child
from oci.plan.container import plan_container
from oci.plan.host import Supplied
from oci.plan.namespaces import CLONE_FLAGS
from oci.plan.operations import MountBind, Plan, Reclone
from oci.sockets import Socket
from oci.spec import Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

Helper = tuple[int, int]


def compile_request(equipment: Equipment, request: CreateRequest, entry: CgroupEntry) -> Plan:
    supplied = Supplied(
        rootfs=request.rootfs_fd is not None,
        mounts=frozenset(request.mount_fds),
        enters=bool(entry.tasks),
        awaits=entry.awaits,
        seccomp=request.seccomp_program is not None or request.spec.linux.seccomp is not None,
        preserved=request.preserved,
        no_pivot=request.no_pivot,
        no_new_keyring=request.no_new_keyring,
        check_program=request.check_program,
        resctrl=request.resctrl is not None,
        bundle=request.bundle,
    )
    host = equipment.host_for(request.spec, None if request.cgroup is None else request.cgroup.path)
    return plan_container(request.container_id, request.spec, host, supplied)


def launch_container(equipment: Equipment, request: CreateRequest) -> tuple[Launch, Helper | None]:
    """The child and, with Attach.BACKGROUND, the (pid, pidfd) of the process that moves it into its cgroup."""
    check_preserved(request.preserved)
    with ExitStack() as opened:
        entry = prepare_entry(request.cgroup, opened)
        plan = compile_request(equipment, request, entry)
        parent, child = channel.pair()
        opened.callback(child.close)
        failed = opened.enter_context(ExitStack())
        failed.callback(parent.close)
        context = _context(equipment, request, plan, entry, channel.ChildChannel(child), opened)
        pid, pidfd = _clone(equipment, request, plan, context, entry, parent)
        failed.pop_all()
    duties = _duties(equipment, request, plan, entry)
    launch = Launch(pid=pid, pidfd=pidfd, channel=parent, duties=duties, warnings=plan.warnings)
    try:
        helper = None
        # For a child that makes a sibling to take its place this is done with the sibling.
        if duties.adopt is None:
            outside.adjust(equipment.proc, pid, plan.process, user_namespace=False)
            _place(equipment, request, pid)
            helper = _attach(request, pid) if entry.awaits else None
    except BaseException:
        launch.abandon()
        raise
    return launch, helper


def become_container(
    equipment: Equipment, request: CreateRequest, own: channel.ChildChannel, parent: Socket
) -> NoReturn:
    """The calling process, born as the first of a pid namespace, is the init. Raises when the request is at fault."""
    opened = ExitStack()  # ends with the process
    entry = prepare_entry(request.cgroup, opened)
    plan = compile_request(equipment, request, entry)
    if "pid" not in plan.new_namespaces or entry.awaits or request.spec.hooks is not None:
        raise SpecError("linux.namespaces", "the container's init cannot be this process")
    context = _context(equipment, request, plan, entry, own, opened)
    # Our pid as the procfs sees it, which is the host's: getpid() is the container's.
    outside.adjust(equipment.proc, int(os.readlink("self", dir_fd=equipment.proc)), plan.process, user_namespace=False)
    sc.unshare(sum(CLONE_FLAGS[kind] for kind in plan.new_namespaces if kind != "pid"))
    run_child(plan, context, parent, wait=True)


def _context(
    equipment: Equipment,
    request: CreateRequest,
    plan: Plan,
    entry: CgroupEntry,
    own: channel.ChildChannel,
    opened: ExitStack,
) -> Context:
    return Context(
        channel=own,
        proc=equipment.proc,
        args=plan.process.args,
        env=list(plan.process.env),
        rootfs=request.rootfs_fd,
        mounts=request.mount_fds,
        namespaces=open_namespaces(equipment.proc, plan, request.spec, opened),
        idmaps={mappings: equipment.idmaps.get(mappings) for mappings in _idmappings(plan)},
        stdio=request.stdio,
        cgroup=entry.tasks,
        seccomp=filter_program(
            request.seccomp_program,
            request.spec.linux.seccomp,
            strict=request.spec.annotations.get(STRICT) == "1",
        ),
        hooks=request.spec.hooks or Hooks(),
        state=_state(request, 0),
    )


def check_preserved(preserved: Sequence[int]) -> None:
    """A number that is not open would come to be one of ours, and be handed to the container."""
    for fd in preserved:
        try:
            os.fstat(fd)
        except OSError:
            raise SpecError("", f"descriptor {fd} is to be preserved, but is not open")


def _clone(
    equipment: Equipment,
    request: CreateRequest,
    plan: Plan,
    context: Context,
    entry: CgroupEntry,
    parent: Socket,
) -> tuple[int, int]:
    flags = 0
    for kind in plan.new_namespaces:
        flags |= CLONE_FLAGS[kind]
    joined = context.namespaces.get(plan.joined_pid_namespace or "")
    try:
        with children_born_in(equipment.proc, joined):
            pid, pidfd = sc.clone3(flags, cgroup_fd=entry.into)
            if pid == 0:
                run_child(plan, context, parent, wait=True, listener=request.listener_fd)
    except OSError as error:
        raise ContainerError("clone the init process", error.errno or 0, str(error.strerror))
    return pid, pidfd


def _duties(equipment: Equipment, request: CreateRequest, plan: Plan, entry: CgroupEntry) -> Duties:
    hooks = request.spec.hooks or Hooks()
    cgroup = request.cgroup
    duties = Duties()

    def runtime_hooks(pid: int) -> None:
        run_hooks("prestart", hooks.prestart, _state(request, pid), request.hook_outputs)
        run_hooks("createRuntime", hooks.create_runtime, _state(request, pid), request.hook_outputs)

    def adopt(pid: int) -> None:
        outside.adjust(equipment.proc, pid, plan.process, user_namespace=True)
        _place(equipment, request, pid)
        if cgroup is not None and entry.awaits and request.attach is not Attach.CALLER:
            cgroup.attach(pid)

    duties.run_hooks = runtime_hooks
    if plan.uid_mappings or plan.gid_mappings:
        duties.write_mappings = lambda pid: write_mappings(equipment.proc, pid, plan.uid_mappings, plan.gid_mappings)
    if cgroup is not None:
        # Only a child that cannot go on without its cgroup asks; with Attach.CALLER it is late for that.
        duties.attach = cgroup.attach
    if (profile := request.spec.linux.seccomp) is not None and profile.listener_path:
        duties.send_listener = lambda pid, fd: send_listener(profile, fd, pid, _state(request, pid))
    if any(isinstance(step, Reclone) for step in plan.setup):
        duties.adopt = adopt
    return duties


def _place(equipment: Equipment, request: CreateRequest, pid: int) -> None:
    """What else of the host the container gets: network devices, a group in resctrl."""
    if request.resctrl is not None:
        request.resctrl.attach(pid)
    devices = request.spec.linux.net_devices
    if not devices:
        return
    from oci.netdevices import move

    path = next(entry.path for entry in request.spec.linux.namespaces if entry.type == "network")
    with ExitStack() as opened:
        own = os.open("self/ns/net", os.O_RDONLY, dir_fd=equipment.proc)
        opened.callback(os.close, own)
        # A path may be one of the process's own (/proc/self/...), as for the namespaces that are joined.
        theirs = os.open(path, os.O_RDONLY) if path else os.open(f"{pid}/ns/net", os.O_RDONLY, dir_fd=equipment.proc)
        opened.callback(os.close, theirs)
        move(devices, theirs, own)


def _attach(request: CreateRequest, pid: int) -> Helper | None:
    cgroup = request.cgroup
    if cgroup is None or request.attach is Attach.CALLER:
        return None
    if request.attach is Attach.BACKGROUND:
        return attach.attach_in_background(cgroup, pid)
    cgroup.attach(pid)
    return None


def _idmappings(plan: Plan) -> set[Mappings]:
    binds = (step for step in plan.setup if isinstance(step, MountBind))
    return {(step.uid_mappings, step.gid_mappings) for step in binds if step.uid_mappings}


def _state(request: CreateRequest, pid: int) -> bytes:
    return state_document(request.container_id, "creating", pid, request.bundle, request.spec.annotations)
