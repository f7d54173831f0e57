"""Making one container: its configuration, cgroup, streams, and its init's way to where it waits to be started."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack

from oci.cgroups import Cgroup, CgroupDriver
from oci.engine import CreateRequest, Launch, Phase, Stdio
from oci.errors import SpecError
from oci.protocol.messages import ContainerCreate
from oci.shim.container import Container, Output
from oci.shim.engine import Drive, Engine, Settled
from oci.shim.loop import Children, Loop
from oci.shim.stdio import Pipes, open_pipes
from oci.spec import Spec


class Creation:
    def __init__(self, engine: Engine, cgroups: CgroupDriver | None, loop: Loop, children: Children) -> None:
        self._engine = engine
        self._cgroups = cgroups
        self._loop = loop
        self._children = children

    def begin(self, request: ContainerCreate) -> Container:
        """A container whose init is on its way. Raises what the executor raises, and undoes what was done."""
        spec = load_spec(request.bundle)
        with ExitStack() as undo:
            output = Output(self._loop, request.log_path)
            undo.callback(output.close)
            cgroup = self._make_cgroup(request.cgroup_path, spec)
            if cgroup is not None:
                undo.callback(cgroup.remove)
            launch, pipes = self._launch(request, spec, cgroup)
            undo.pop_all()
        if pipes is not None:
            output.add("stdout", pipes.stdout)
            output.add("stderr", pipes.stderr)
        return Container(
            id=request.container_id,
            bundle=request.bundle,
            log_path=request.log_path,
            cgroup_path=request.cgroup_path,
            cgroup=cgroup,
            pid=launch.pid,
            pidfd=-1,
            output=output,
            launch=launch,
            stdin_fd=None if pipes is None else pipes.stdin,
            seccomp_fd=None if request.seccomp_fd is None else os.dup(request.seccomp_fd),
            state="creating",
        )

    def drive(self, container: Container, settled: Settled) -> None:
        assert container.launch is not None
        Drive(self._loop, self._children, container.launch, Phase.WAITING, settled)

    def complete(self, container: Container) -> None:
        launch = container.launch
        assert launch is not None
        launch.handed_over = True  # from here on we reap it, whatever happens
        container.pid, container.pidfd = launch.pid, launch.pidfd
        container.console_fd = launch.console_fd
        if container.console_fd is not None:
            # The end of the stream is no reason to close the pty: somebody may open its other side again.
            os.set_blocking(container.console_fd, False)
            container.output.add("stdout", os.dup(container.console_fd))
        container.state = "created"
        container.created_at = time.time_ns()

    def undo(self, container: Container) -> None:
        """The init is dead and its launch closed."""
        container.launch = None
        container.close()
        if container.cgroup is not None:
            container.cgroup.remove()

    def _make_cgroup(self, path: str | None, spec: Spec) -> Cgroup | None:
        return None if path is None or self._cgroups is None else self._cgroups.create(path, spec.linux.resources)

    def _launch(self, request: ContainerCreate, spec: Spec, cgroup: Cgroup | None) -> tuple[Launch, Pipes | None]:
        terminal = spec.process is not None and spec.process.terminal
        with ExitStack() as theirs, ExitStack() as undo:
            stdio: Stdio | None = None
            pipes: Pipes | None = None
            if not terminal:
                stdio, pipes = open_pipes(request.stdin, theirs)
                undo.callback(pipes.close)
            launch = self._engine.launch_container(
                CreateRequest(
                    container_id=request.container_id,
                    spec=spec,
                    bundle=request.bundle,
                    rootfs_fd=request.rootfs_fd,
                    mount_fds=_mount_fds(request),
                    stdio=stdio,
                    cgroup=cgroup,
                    seccomp_program=None if request.seccomp_fd is None else read_program(request.seccomp_fd),
                )
            )
            undo.pop_all()
        return launch, pipes


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


def _mount_fds(request: ContainerCreate) -> Mapping[int, int]:
    if len(request.mount_indexes) != len(request.mount_fds):
        raise SpecError("mounts", f"{len(request.mount_fds)} descriptors for {len(request.mount_indexes)} mounts")
    return dict(zip(request.mount_indexes, request.mount_fds, strict=True))
