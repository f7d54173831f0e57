"""A container, from its bundle to where its init waits to be started."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from oci.cgroups import Cgroup, CgroupDriver
from oci.engine import CreateRequest, Launch, Phase, Stdio
from oci.errors import SpecError, Unsupported
from oci.exits import ExitStack
from oci.protocol.messages import ContainerCreate, ContainerHandles, SandboxNamespaces
from oci.shim.engine import Engine
from oci.shim.handlers import verbs
from oci.shim.log_file import open_log
from oci.shim.work.namespaces import enter
from oci.shim.work.stdio import Pipes, give, open_pipes
from oci.shim.workers import Outcome
from oci.spec import Namespace, Spec
from oci.values import replace


def create(
    request: ContainerCreate, namespaces: SandboxNamespaces, engine: Engine, cgroups: CgroupDriver | None
) -> Outcome:
    """Raises what the executor raises; its cgroup, when it was made for nothing, is removed."""
    if request.runtime is not None:
        return verbs.create(request, request.runtime, namespaces, load_spec(request.bundle), mount_fds(request))
    if request.checkpoint is not None:
        from oci.shim.work import checkpoint  # of no use to any other container

        return checkpoint.create(request, namespaces, load_spec(request.bundle), mount_fds(request), cgroups)
    spec = _with_user_namespace(load_spec(request.bundle), namespaces.user_fd)
    if request.cgroup_path is not None and cgroups is None:
        raise Unsupported(f"cgroup {request.cgroup_path}", "the launcher found no cgroup file system")
    with ExitStack() as undo:
        cgroup = None
        if request.cgroup_path is not None and cgroups is not None:
            cgroup = cgroups.create(request.cgroup_path, spec.linux.resources)
            undo.callback(cgroup.remove)
        log_fd = None if request.log_path is None else open_log(request.log_path)
        enter(namespaces)
        terminal = spec.process is not None and spec.process.terminal
        with ExitStack() as theirs:
            stdio, pipes = (None, None) if terminal else open_pipes(request.stdin, theirs)
            if stdio is not None:
                give(stdio, spec.linux)
            launch = engine.launch_container(to_engine(request, spec, stdio, cgroup))
        launch.run_until(Phase.WAITING)
        undo.pop_all()
    return outcome(request, launch, pipes, log_fd)


def to_engine(request: ContainerCreate, spec: Spec, stdio: Stdio | None, cgroup: Cgroup | None) -> CreateRequest:
    return CreateRequest(
        container_id=request.container_id,
        spec=spec,
        bundle=request.bundle,
        rootfs_fd=request.rootfs_fd,
        mount_fds=mount_fds(request),
        stdio=stdio,
        cgroup=cgroup,
        seccomp_program=None if request.seccomp_fd is None else read_program(request.seccomp_fd),
    )


def _with_user_namespace(spec: Spec, user_fd: int | None) -> Spec:
    """The pod's is no part of config.json, as its other namespaces are not; this path is good in this process only."""
    if user_fd is None:
        return spec
    joined = Namespace(type="user", path=f"/proc/self/fd/{user_fd}")
    return replace(spec, linux=replace(spec.linux, namespaces=(*spec.linux.namespaces, joined)))


def load_spec(bundle: str) -> Spec:
    return Spec.from_json(load_document(bundle))


def load_document(bundle: str) -> object:
    path = f"{bundle}/config.json"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        return json.loads(text)
    except ValueError as error:
        raise SpecError("", f"{path}: {error}") from None


def read_program(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def outcome(request: ContainerCreate, launch: Launch, pipes: Pipes | None, log_fd: int | None) -> Outcome:
    return outcome_of(request, launch.pid, launch.pidfd, launch.channel.detach(), pipes, log_fd, launch.console_fd)


def outcome_of(
    request: ContainerCreate,
    pid: int,
    pidfd: int,
    channel: int,
    pipes: Pipes | None,
    log_fd: int | None,
    console_fd: int | None,
) -> Outcome:
    fds = {"pidfd": pidfd, "channel": channel}
    if pipes is not None:
        fds |= {"stdout_fd": pipes.stdout, "stderr_fd": pipes.stderr}
        if pipes.stdin is not None:
            fds["stdin_fd"] = pipes.stdin
    if console_fd is not None:
        os.set_blocking(console_fd, False)
        fds["console_fd"] = console_fd
    if request.seccomp_fd is not None:
        fds["seccomp_fd"] = request.seccomp_fd
    answer = ContainerHandles(pid=pid, **{name: fd for name, fd in fds.items() if name != "channel"})
    if log_fd is not None:
        fds["log_fd"] = log_fd
    limits = request.log_size_max, request.log_rate_limit
    record = (pid, request.bundle, request.log_path, request.cgroup_path, *limits, None)
    return Outcome(answer=answer, record=record, fds=fds)


def mount_fds(request: ContainerCreate) -> Mapping[int, int]:
    if len(request.mount_indexes) != len(request.mount_fds):
        raise SpecError("mounts", f"{len(request.mount_fds)} descriptors for {len(request.mount_indexes)} mounts")
    return dict(zip(request.mount_indexes, request.mount_fds, strict=True))
