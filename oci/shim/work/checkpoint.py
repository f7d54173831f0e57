"""A pod's containers to disk and back. For workers of the shim; nothing else of it loads this.

    worker            CRIU                        holder                      shim
    begin ──fork────► restores, stops them
    fork ──────────────────────────────────────► waits for the order
    outcome: pid, pidfd, streams, channel ──────────────────────────────────► created
    (gone: CRIU, holder and the container's init are the shim's children now)
                                                 ◄────────── START ────────── start
                      ◄── lets them run ──────── tells CRIU
                                                 closes the channel ────────► running

The holder's end of the channel behaves as that of an init that waits for its start. A shim that dies before it gives
the order takes the container with it, as it would then.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import NoReturn

from oci.cgroups import CgroupDriver
from oci.checkpoint.criu import config_file
from oci.checkpoint.dump import DumpRequest, freezer_directory
from oci.checkpoint.dump import dump as dump_container
from oci.checkpoint.restore import RestoreRequest, Restoring, abort, begin, go
from oci.checkpoint.rpc import NETWORK_LOCKS, Options
from oci.errors import ContainerError, StateError, Unsupported
from oci.exits import ExitStack
from oci.handshake import channel
from oci.handshake.channel import ChildChannel, Kind
from oci.handshake.launch import Launch
from oci.protocol.messages import Checkpoint, ContainerCreate, Done, SandboxNamespaces
from oci.shim.container import Container
from oci.shim.log_file import open_log
from oci.shim.work.creation import load_spec, outcome
from oci.shim.work.stdio import open_pipes
from oci.shim.workers import Outcome
from oci.sockets import Socket
from oci.spec import Spec
from oci.values import replace

# Connections belong to the address of a pod, which its copy does not have: there they are closed, and so the network
# need not be held still while it is looked at.
_ASKED = Options(
    tcp_close=True,
    network_lock=NETWORK_LOCKS["skip"],
    file_locks=True,
    link_remap=True,
    ext_unix_sk=True,
)


def dump(request: Checkpoint, container: Container, namespaces: SandboxNamespaces) -> Outcome:
    if container.state != "running":
        raise StateError(container.id, f"cannot be checkpointed, it is {container.state}")
    if container.runtime is not None:
        raise Unsupported("checkpoint/restore", f"{container.id} is run by {container.runtime.path}")
    _refuse_user_namespace(namespaces)
    spec = load_spec(container.bundle)
    dump_container(
        DumpRequest(
            container_id=container.id,
            pid=container.pid,
            spec=spec,
            images=request.images,
            work=request.images,
            program=request.criu,
            outside=frozenset(_spaces(namespaces, spec)),
            freezer=None if container.cgroup_path is None else freezer_directory(container.cgroup_path),
            options=replace(_ASKED, leave_running=True, timeout=request.timeout or None, config_file=config_file()),
        )
    )
    return Outcome(answer=Done())


def create(
    request: ContainerCreate,
    namespaces: SandboxNamespaces,
    spec: Spec,
    mount_fds: Mapping[int, int],
    cgroups: CgroupDriver | None,
) -> Outcome:
    """As `creation.create`, for a container whose processes exist already."""
    _refuse_user_namespace(namespaces)
    with ExitStack() as undo:
        cgroup = None
        if request.cgroup_path is not None and cgroups is not None:
            cgroup = cgroups.create(request.cgroup_path, spec.linux.resources)
            undo.callback(cgroup.remove)
        place = f"{request.bundle}/restore"
        os.mkdir(place, 0o700)
        log_fd = None if request.log_path is None else open_log(request.log_path)
        terminal = spec.process is not None and spec.process.terminal
        with ExitStack() as theirs:
            stdio, pipes = (None, None) if terminal else open_pipes(request.stdin, theirs)
            asked = RestoreRequest(
                container_id=request.container_id,
                spec=spec,
                bundle=request.bundle,
                images=request.checkpoint or "",
                work=request.bundle,
                place=place,
                program=request.criu,
                rootfs=request.rootfs_fd,
                mounts=mount_fds,
                stdio=stdio,
                cgroup=cgroup,
                spaces=_spaces(namespaces, spec),
                filtered=request.seccomp_fd is not None,
                options=replace(_ASKED, config_file=config_file()),
            )
            restoring = begin(asked)
        undo.callback(abort, restoring)
        ours = _hold(restoring)
        undo.pop_all()
    restored = restoring.restored
    launch = Launch(pid=restored.pid, pidfd=restored.pidfd, channel=ours, console_fd=restored.console_fd)
    return outcome(request, launch, pipes, log_fd)


def _spaces(namespaces: SandboxNamespaces, spec: Spec) -> dict[str, int]:
    """The pod's, and a pid namespace that the config joins."""
    held = {"network": namespaces.net_fd, "ipc": namespaces.ipc_fd, "uts": namespaces.uts_fd}
    spaces = {kind: fd for kind, fd in held.items() if fd is not None}
    for space in spec.linux.namespaces:
        if space.type == "pid" and space.path:
            spaces["pid"] = os.open(space.path, os.O_RDONLY | os.O_CLOEXEC)
    return spaces


def _refuse_user_namespace(namespaces: SandboxNamespaces) -> None:
    if namespaces.user_fd is not None:
        raise Unsupported("checkpoint/restore", "CRIU cannot join a user namespace, and this pod has one of its own")


def _hold(restoring: Restoring) -> Socket:
    """Our end of the channel to a process that waits for the order to start."""
    ours, theirs = channel.pair()
    pid = os.fork()
    if pid == 0:
        _be_holder(restoring, ours, ChildChannel(theirs))
    theirs.close()
    return ours


def _be_holder(restoring: Restoring, ours: Socket, waiting: ChildChannel) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        ours.close()
        if waiting.socket.recv(16) != Kind.START.value:
            abort(restoring)
            os._exit(1)
        try:
            go(restoring)
        except ContainerError as error:
            abort(restoring)
            waiting.fail(error.stage, error.errno, error.message)
            os._exit(1)
        os._exit(0)
    finally:
        os._exit(1)
