"""The executor's one entry: compile a request, clone, serve the child until it is ready, release it.

Used by the shim and by the command line alike. The calling process has one thread; it stays free while the child mounts
if it drives `launch_container` and `Launch.advance` from its event loop instead of calling `create`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from oci import syscalls as sc
from oci.engine import attach, channel
from oci.engine.attach import CgroupEntry, prepare_entry
from oci.engine.duties import Duties
from oci.engine.hooks import run_hooks, state_document
from oci.engine.host import open_private_proc, read_cgroups, read_host
from oci.engine.launch import Launch, Phase
from oci.engine.listener import send_listener
from oci.engine.requests import Attach, Created, CreateRequest, ExecRequest, Running
from oci.engine.userns import IdmapNamespaces, write_mappings
from oci.errors import ContainerError, SpecError
from oci.init.context import Context, Mappings
from oci.init.run import run_child
from oci.plan.container import plan_container
from oci.plan.exec import plan_exec
from oci.plan.host import Host, Supplied
from oci.plan.namespaces import CLONE_FLAGS
from oci.plan.operations import MountBind, Plan, Reclone
from oci.spec import Hooks, Process, Seccomp, Spec

_NS_GET_NSTYPE: Final = 0xB703
_NS_FILES: Final = {
    "mnt": sc.CLONE_NEWNS,
    "pid": sc.CLONE_NEWPID,
    "ipc": sc.CLONE_NEWIPC,
    "uts": sc.CLONE_NEWUTS,
    "net": sc.CLONE_NEWNET,
    "cgroup": sc.CLONE_NEWCGROUP,
    "user": sc.CLONE_NEWUSER,
    "time": sc.CLONE_NEWTIME,
}


class Engine:
    """Holds what is worth keeping between containers: facts about the host, a private procfs, id-mapping namespaces."""

    def __init__(self, host: Host, proc: int) -> None:
        self._host = host
        self._proc = proc
        self._idmaps = IdmapNamespaces(proc)

    @classmethod
    def open(cls) -> Engine:
        return cls(read_host(), open_private_proc())

    # --- containers -------------------------------------------------------------------------------------------------

    def plan(self, request: CreateRequest) -> Plan:
        """What `create` would do, without doing any of it."""
        with ExitStack() as opened:
            return self._plan(request, prepare_entry(request.cgroup, opened))

    def _plan(self, request: CreateRequest, entry: CgroupEntry) -> Plan:
        supplied = Supplied(
            rootfs=request.rootfs_fd is not None,
            mounts=frozenset(request.mount_fds),
            enters=bool(entry.tasks),
            awaits=entry.awaits,
            seccomp=request.seccomp_program is not None or request.spec.linux.seccomp is not None,
            preserve_fds=request.preserve_fds,
            no_pivot=request.no_pivot,
            bundle=request.bundle,
        )
        host = self._host
        if any(mount.type in ("cgroup", "cgroup2") for mount in request.spec.mounts):
            path = None if request.cgroup is None else request.cgroup.path
            host = replace(host, cgroups=read_cgroups(self._proc, path))
        return plan_container(request.container_id, request.spec, host, supplied)

    def create(self, request: CreateRequest) -> Created:
        """Returns when init waits to be started. Raises SpecError, Unsupported, HookError or ContainerError."""
        launch, helper = self._launch_container(request)
        launch.run_until(Phase.WAITING)
        return self._created(request, launch, helper)

    def launch_container(self, request: CreateRequest) -> Launch:
        """The same for an event loop: `advance` until WAITING, `release` when the cgroup is joined, `advance` again."""
        return self._launch_container(request)[0]

    def start(self, created: Created, cgroup_path: str = "") -> None:
        """Returns once execve succeeded, else raises ContainerError; init is dead and reaped then."""
        launch = Launch(
            pid=created.pid, pidfd=created.pidfd, channel=created.channel, phase=Phase.WAITING, duties=created.duties
        )
        if created.attach_pid is not None and created.attach_pidfd is not None:
            try:
                attach.wait_attached(created.attach_pid, created.attach_pidfd, cgroup_path)
            except ContainerError:
                launch.abandon()
                raise
            created.attach_pid = created.attach_pidfd = None
        launch.release()
        launch.run_until(Phase.EXECUTED)

    # --- exec ---------------------------------------------------------------------------------------------------------

    def exec_process(self, request: ExecRequest) -> Running:
        """Returns once execve succeeded; raises ContainerError (the process is reaped then) or SpecError."""
        launch = self.launch_exec(request)
        launch.run_until(Phase.EXECUTED)
        return Running(pid=launch.pid, pidfd=launch.pidfd, console_fd=launch.console_fd)

    def launch_exec(self, request: ExecRequest) -> Launch:
        """For an event loop: `advance` until EXECUTED."""
        with ExitStack() as opened:
            return self._launch_exec(request, prepare_entry(request.cgroup, opened))

    def _launch_exec(self, request: ExecRequest, entry: CgroupEntry) -> Launch:
        mask = self._join_mask(request.pid)
        supplied = Supplied(
            enters=bool(entry.tasks),
            seccomp=request.seccomp_program is not None or request.spec.linux.seccomp is not None,
            preserve_fds=request.preserve_fds,
        )
        user_namespace = bool(mask & sc.CLONE_NEWUSER)
        plan = plan_exec(request.process, request.spec, self._host, supplied, user_namespace=user_namespace)
        _check_preserved(request.preserve_fds)
        program = _filter(request.seccomp_program, request.spec.linux.seccomp)
        parent, child = channel.pair()
        context = Context(
            channel=channel.ChildChannel(child),
            proc=self._proc,
            args=request.process.args,
            env=list(request.process.env),
            stdio=request.stdio,
            seccomp=program,
            cgroup=entry.tasks,
            container_pidfd=request.pidfd,
            join_mask=mask & ~sc.CLONE_NEWPID,
        )
        try:
            with self._children_in(request.pidfd if mask & sc.CLONE_NEWPID else None):
                pid, pidfd = sc.clone3(0, cgroup_fd=entry.into)
                if pid == 0:
                    run_child(plan, context, wait=entry.awaits)
        except OSError as error:
            parent.close()
            child.close()
            raise ContainerError("exec: join the container", error.errno or 0, _text(error))
        child.close()
        duties = Duties()
        if (profile := request.spec.linux.seccomp) is not None and profile.listener_path:
            duties.send_listener = lambda process, fd: send_listener(profile, fd, process, b"{}")
        launch = Launch(pid=pid, pidfd=pidfd, channel=parent, duties=duties, warnings=plan.warnings)
        launch.phase = Phase.SETTING_UP if entry.awaits else Phase.FINISHING
        try:
            self._adjust_from_outside(pid, request.process, raise_limits=user_namespace)
            if entry.awaits and request.cgroup is not None:
                # The child joins the namespaces while we wait for the cgroup.
                request.cgroup.attach(pid)
        except BaseException:
            launch.abandon()
            raise
        if entry.awaits:
            launch.run_until(Phase.WAITING)
            launch.release()
        return launch

    # --- making the child ---------------------------------------------------------------------------------------------

    def _launch_container(self, request: CreateRequest) -> tuple[Launch, tuple[int, int] | None]:
        _check_preserved(request.preserve_fds)
        with ExitStack() as opened:
            entry = prepare_entry(request.cgroup, opened)
            plan = self._plan(request, entry)
            process, spec = plan.process, request.spec
            parent, child = channel.pair()
            opened.callback(child.close)
            context = Context(
                channel=channel.ChildChannel(child),
                proc=self._proc,
                args=process.args,
                env=list(process.env),
                rootfs=request.rootfs_fd,
                mounts=request.mount_fds,
                namespaces=self._open_namespaces(plan, spec, opened),
                idmaps={mappings: self._idmaps.get(mappings) for mappings in _idmappings(plan)},
                stdio=request.stdio,
                cgroup=entry.tasks,
                seccomp=_filter(request.seccomp_program, spec.linux.seccomp),
                hooks=spec.hooks or Hooks(),
                state=_state(request, "creating", 0),
            )
            launch = self._clone_container(request, plan, context, parent, entry)
        try:
            self._adjust_from_outside(launch.pid, process, raise_limits="user" in plan.new_namespaces)
            helper = self._attach(request, launch.pid) if entry.awaits and not launch.duties.adopt else None
        except BaseException:
            launch.abandon()
            raise
        return launch, helper

    def _clone_container(
        self, request: CreateRequest, plan: Plan, context: Context, parent: socket.socket, entry: CgroupEntry
    ) -> Launch:
        flags = 0
        for kind in plan.new_namespaces:
            flags |= CLONE_FLAGS[kind]
        pid_namespace = context.namespaces.get(plan.joined_pid_namespace or "")
        try:
            with self._children_in(pid_namespace):
                pid, pidfd = sc.clone3(flags, cgroup_fd=entry.into)
                if pid == 0:
                    run_child(plan, context, wait=True, listener=request.listener_fd)
        except OSError as error:
            parent.close()
            raise ContainerError("clone the init process", error.errno or 0, _text(error))
        return Launch(
            pid=pid,
            pidfd=pidfd,
            channel=parent,
            duties=self._duties(request, plan, awaits=entry.awaits),
            warnings=plan.warnings,
        )

    def _duties(self, request: CreateRequest, plan: Plan, *, awaits: bool) -> Duties:
        spec = request.spec
        hooks = spec.hooks or Hooks()
        cgroup = request.cgroup
        duties = Duties()
        if plan.uid_mappings or plan.gid_mappings:
            duties.write_mappings = lambda pid: write_mappings(self._proc, pid, plan.uid_mappings, plan.gid_mappings)

        def runtime_hooks(pid: int) -> None:
            run_hooks("prestart", hooks.prestart, _state(request, "creating", pid))
            run_hooks("createRuntime", hooks.create_runtime, _state(request, "creating", pid))

        duties.run_hooks = runtime_hooks
        if cgroup is not None:
            # Only a child that cannot go on without its cgroup asks; with Attach.CALLER it is late for that.
            duties.attach = cgroup.attach
        if (profile := spec.linux.seccomp) is not None and profile.listener_path:
            duties.send_listener = lambda pid, fd: send_listener(profile, fd, pid, _state(request, "creating", pid))
        if any(isinstance(step, Reclone) for step in plan.setup):

            def adopt(pid: int) -> None:
                self._adjust_from_outside(pid, plan.process, raise_limits=True)
                if cgroup is not None and awaits and request.attach is not Attach.CALLER:
                    cgroup.attach(pid)

            duties.adopt = adopt
        return duties

    def _attach(self, request: CreateRequest, pid: int) -> tuple[int, int] | None:
        cgroup = request.cgroup
        if cgroup is None or request.attach is Attach.CALLER:
            return None
        if request.attach is Attach.BACKGROUND:
            return attach.attach_in_background(cgroup, pid)
        cgroup.attach(pid)
        return None

    def _created(self, request: CreateRequest, launch: Launch, helper: tuple[int, int] | None) -> Created:
        return Created(
            container_id=request.container_id,
            pid=launch.pid,
            pidfd=launch.pidfd,
            channel=launch.channel,
            console_fd=launch.console_fd,
            attach_pid=helper[0] if helper else None,
            attach_pidfd=helper[1] if helper else None,
            warnings=launch.warnings,
            duties=launch.duties,
        )

    # --- namespaces ---------------------------------------------------------------------------------------------------

    def _open_namespaces(self, plan: Plan, spec: Spec, opened: ExitStack) -> dict[str, int]:
        descriptors = {}
        for kind, path in plan.namespace_paths:
            field = f"linux.namespaces[{[entry.type for entry in spec.linux.namespaces].index(kind)}].path"
            try:
                fd = os.open(path, os.O_RDONLY)
                opened.callback(os.close, fd)
                actual = fcntl.ioctl(fd, _NS_GET_NSTYPE)
            except OSError as error:
                reason = "is not a namespace" if error.errno == errno.ENOTTY else os.strerror(error.errno or 0).lower()
                raise SpecError(field, f"{path}: {reason}")
            if actual != CLONE_FLAGS[kind]:
                raise SpecError(field, f"{path} is not a {kind} namespace")
            descriptors[path] = fd
            self._refuse_shared_sysctls(kind, fd, spec)
        return descriptors

    def _refuse_shared_sysctls(self, kind: str, fd: int, spec: Spec) -> None:
        """A joined namespace that is our own is the host's: the planner could not know."""
        file = {"network": "net", "ipc": "ipc", "uts": "uts", "user": "user"}.get(kind)
        if file is None or not spec.linux.sysctl:
            return
        if os.fstat(fd).st_ino == os.stat(f"self/ns/{file}", dir_fd=self._proc).st_ino:
            from oci.plan.sysctls import check_sysctls

            others = frozenset(entry.type for entry in spec.linux.namespaces) - {kind}
            check_sysctls(spec.linux.sysctl, others)

    @contextmanager
    def _children_in(self, fd: int | None) -> Iterator[None]:
        """Children cloned inside are born in the pid namespace of `fd` (a namespace file or a pidfd)."""
        if fd is None:
            yield
            return
        try:
            own = os.open("self/ns/pid_for_children", os.O_RDONLY, dir_fd=self._proc)
        except FileNotFoundError:
            own = os.open("self/ns/pid", os.O_RDONLY, dir_fd=self._proc)
        try:
            sc.setns(fd, sc.CLONE_NEWPID)
            try:
                yield
            finally:
                sc.setns(own, sc.CLONE_NEWPID)
        finally:
            os.close(own)

    def _join_mask(self, pid: int) -> int:
        """Namespaces of `pid` that are not ours; joining our own user namespace would be an error."""
        mask = 0
        try:
            for name, flag in _NS_FILES.items():
                theirs = os.stat(f"{pid}/ns/{name}", dir_fd=self._proc).st_ino
                if theirs != os.stat(f"self/ns/{name}", dir_fd=self._proc).st_ino:
                    mask |= flag
        except FileNotFoundError:
            raise ContainerError("exec: join the container", errno.ESRCH, f"process {pid} is gone")
        return mask

    # --- what only the parent may do ----------------------------------------------------------------------------------

    def _adjust_from_outside(self, pid: int, process: Process, *, raise_limits: bool) -> None:
        if process.oom_score_adj is not None:
            self._adjust_oom_score(pid, process.oom_score_adj)
        if raise_limits and process.rlimits:
            self._raise_limits(pid, process)

    def _adjust_oom_score(self, pid: int, wanted: int) -> None:
        """Lowering takes CAP_SYS_RESOURCE; without it the process keeps the lowest value it may have."""
        for value in (wanted, max(wanted, 0)):
            fd = os.open(f"{pid}/oom_score_adj", os.O_WRONLY, dir_fd=self._proc)
            try:
                os.write(fd, str(value).encode())
                return
            except PermissionError:
                continue
            finally:
                os.close(fd)

    def _raise_limits(self, pid: int, process: Process) -> None:
        """Root of a user namespace may not raise hard limits, so we do; the child then only lowers them."""
        from oci.plan.rlimits import resolve_rlimits

        for _, number, _, hard in resolve_rlimits(process.rlimits):
            soft_now, hard_now = resource.prlimit(pid, number)
            if hard_now != -1 and (hard == -1 or hard > hard_now):
                resource.prlimit(pid, number, (soft_now, hard))


def _filter(program: bytes | None, profile: Seccomp | None) -> bytes | None:
    if program is not None or profile is None:
        return program
    from oci.seccomp import compile_filter

    return compile_filter(profile)


def _idmappings(plan: Plan) -> set[Mappings]:
    return {
        (step.uid_mappings, step.gid_mappings)
        for step in plan.setup
        if isinstance(step, MountBind) and step.uid_mappings
    }


def _check_preserved(count: int) -> None:
    """A number that is not open would come to be one of ours, and be handed to the container."""
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError:
            raise SpecError("--preserve-fds", f"descriptor {fd} is not open")


def _state(request: CreateRequest, status: str, pid: int) -> bytes:
    return state_document(request.container_id, status, pid, request.bundle, request.spec.annotations)


def _text(error: OSError) -> str:
    return str(error.strerror)
