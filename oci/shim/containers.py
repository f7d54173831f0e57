"""The containers of a pod, from create to delete. Owns their records; the executor does the work.

    create ──► created ──start──► running ──init exits──► exited ──delete──► (gone)
                  └────────────── init exits ────────────────┘

When an init exits: what its streams hold goes to the log, the cgroup's OOM count is read, the record is written to
disk, and only then is the exit told.
"""

from __future__ import annotations

import json
import os
import signal
import termios
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from oci.cgroups import Cgroup, CgroupDriver
from oci.engine.requests import Attach, Created, CreateRequest, Stdio
from oci.errors import CgroupError, ContainerExists, ContainerNotFound, SpecError, StateError, Unsupported
from oci.protocol import messages
from oci.protocol.messages import AdoptContainer, ContainerCreate, ContainerExited
from oci.shim import foreign, records
from oci.shim.container import Container, Output
from oci.shim.engine import Engine
from oci.shim.loop import Children, Loop
from oci.shim.stdio import Pipes, open_pipes
from oci.spec import Spec


class Containers:
    def __init__(
        self,
        directory: str,
        engine: Engine,
        cgroups: CgroupDriver | None,
        loop: Loop,
        children: Children,
        tell: Callable[[ContainerExited], None],
    ) -> None:
        self._directory = directory
        self._engine = engine
        self._cgroups = cgroups
        self._loop = loop
        self._children = children
        self._tell = tell
        self._all: dict[str, Container] = {}

    def all(self) -> tuple[Container, ...]:
        return tuple(self._all.values())

    def get(self, container_id: str) -> Container:
        container = self._all.get(container_id)
        if container is None:
            raise ContainerNotFound(container_id)
        return container

    def create(self, request: ContainerCreate) -> Container:
        """Raises what the executor raises; nothing is left of a container that could not be created."""
        if request.container_id in self._all:
            raise ContainerExists(request.container_id)
        spec = load_spec(request.bundle)
        cgroup = self._make_cgroup(request.cgroup_path, spec)
        output = None
        try:
            output = Output(self._loop, request.log_path)
            created, pipes = self._engine_create(request, spec, cgroup)
        except BaseException:
            if output is not None:
                output.close()
            if cgroup is not None:
                cgroup.remove()
            raise
        container = Container(
            id=request.container_id,
            bundle=request.bundle,
            log_path=request.log_path,
            cgroup_path=request.cgroup_path,
            cgroup=cgroup,
            pid=created.pid,
            pidfd=created.pidfd,
            output=output,
            created=created,
            stdin_fd=None if pipes is None else pipes.stdin,
            console_fd=created.console_fd,
            seccomp_fd=_keep(request.seccomp_fd),
            created_at=time.time_ns(),
        )
        _connect_output(container, pipes)
        self._all[container.id] = container
        self._children.watch(created.pid, lambda status: self._exited(container, status))
        return container

    def adopt(self, request: AdoptContainer) -> Container:
        """Take over a container whose shim died. One that has exited meanwhile is told at once."""
        if request.container_id in self._all:
            raise ContainerExists(request.container_id)
        cgroups = self._cgroups
        container = Container(
            id=request.container_id,
            bundle=request.bundle,
            log_path=request.log_path,
            cgroup_path=request.cgroup_path,
            cgroup=None if request.cgroup_path is None or cgroups is None else cgroups.open(request.cgroup_path),
            pid=request.pid,
            pidfd=os.dup(request.pidfd),
            output=Output(self._loop, request.log_path),
            stdin_fd=_keep(request.stdin_fd),
            console_fd=_keep(request.console_fd),
            seccomp_fd=_keep(request.seccomp_fd),
            state="running" if request.started else "created",
        )
        if container.console_fd is not None:
            container.output.add("stdout", os.dup(container.console_fd))
        for name, fd in (("stdout", request.stdout_fd), ("stderr", request.stderr_fd)):
            if fd is not None:
                container.output.add(name, os.dup(fd))
        self._all[container.id] = container
        record = records.read(self._directory, container.id)
        if record is not None:  # its shim died after the container did
            self._end(container, record)
        else:
            foreign.watch(self._loop, container.pidfd, lambda status: self._exited(container, status))
        return container

    def start(self, container_id: str) -> None:
        container = self.get(container_id)
        if container.created is None or container.state != "created":
            raise StateError(container_id, f"cannot be started, it is {container.state}")
        created, container.created = container.created, None
        self._engine.start(created)
        container.state = "running"
        container.started_at = time.time_ns()

    def kill(self, request: messages.Kill) -> None:
        container = self.get(request.container_id)
        if request.all and container.cgroup is not None:
            container.cgroup.kill(request.signal)
        elif container.state != "exited":
            try:
                signal.pidfd_send_signal(container.pidfd, request.signal)
            except ProcessLookupError:
                pass

    def delete(self, container_id: str) -> None:
        container = self._all.get(container_id)
        if container is None:
            return
        if container.state != "exited":
            raise StateError(container_id, f"cannot be deleted, it is {container.state}")
        if container.cgroup is not None:
            container.cgroup.kill(signal.SIGKILL)
            container.cgroup.remove()
        container.output.drain()
        container.close()
        records.remove(self._directory, container_id)
        del self._all[container_id]

    def reopen_log(self, container_id: str) -> None:
        container = self.get(container_id)
        if container.state == "exited":
            raise StateError(container_id, "has exited, its log is not reopened")
        container.output.reopen_log()

    def resize(self, container_id: str, *, width: int, height: int) -> None:
        container = self.get(container_id)
        if container.console_fd is None:
            raise StateError(container_id, "has no terminal")
        termios.tcsetwinsize(container.console_fd, (height, width))

    def _engine_create(
        self, request: ContainerCreate, spec: Spec, cgroup: Cgroup | None
    ) -> tuple[Created, Pipes | None]:
        terminal = spec.process is not None and spec.process.terminal
        with ExitStack() as theirs, ExitStack() as undo:
            stdio: Stdio | None = None
            pipes: Pipes | None = None
            if not terminal:
                stdio, pipes = open_pipes(request.stdin, theirs)
                undo.callback(pipes.close)
            created = self._engine.create(
                CreateRequest(
                    container_id=request.container_id,
                    spec=spec,
                    bundle=request.bundle,
                    rootfs_fd=request.rootfs_fd,
                    mount_fds=_mount_fds(request),
                    stdio=stdio,
                    cgroup=cgroup,
                    attach=Attach.BACKGROUND,
                    seccomp_program=None if request.seccomp_fd is None else read_program(request.seccomp_fd),
                )
            )
            undo.pop_all()
        return created, pipes

    def _make_cgroup(self, path: str | None, spec: Spec) -> Cgroup | None:
        if path is None:
            return None
        if self._cgroups is None:
            raise Unsupported(f"cgroup {path}", "the launcher found no cgroup file system")
        return self._cgroups.create(path, spec.linux.resources)

    def _exited(self, container: Container, status: int) -> None:
        finished_at = time.time_ns()
        container.output.drain()
        record = ContainerExited(
            container_id=container.id,
            pid=container.pid,
            status=status,
            finished_at=finished_at,
            oom_kills=_oom_kills(container.cgroup),
        )
        self._end(container, record)

    def _end(self, container: Container, record: ContainerExited) -> None:
        container.state = "exited"
        container.exit = record
        container.forget_creation()
        records.write(self._directory, record)
        self._tell(record)


def load_spec(bundle: str) -> Spec:
    path = f"{bundle}/config.json"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        return Spec.from_json(json.loads(text))
    except ValueError as error:
        raise SpecError("", f"{path}: {error}") from None


def read_program(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _connect_output(container: Container, pipes: Pipes | None) -> None:
    if pipes is not None:
        container.output.add("stdout", pipes.stdout)
        container.output.add("stderr", pipes.stderr)
    elif container.console_fd is not None:
        # Its end of file is no reason to close the pty: somebody may still open the other side again.
        os.set_blocking(container.console_fd, False)
        container.output.add("stdout", os.dup(container.console_fd))


def _mount_fds(request: ContainerCreate) -> Mapping[int, int]:
    if len(request.mount_indexes) != len(request.mount_fds):
        raise SpecError("mounts", f"{len(request.mount_fds)} descriptors for {len(request.mount_indexes)} mounts")
    return dict(zip(request.mount_indexes, request.mount_fds, strict=True))


def _oom_kills(cgroup: Cgroup | None) -> int:
    try:
        return 0 if cgroup is None else cgroup.oom_kills()
    except CgroupError:  # removed under us: nothing can be known, and the exit must be told all the same
        return 0


def _keep(fd: int | None) -> int | None:
    return None if fd is None else os.dup(fd)
