"""The verbs, each by the runtime's command line (as runc has it, and all others after it). For workers of the shim."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping

from oci import syscalls
from oci.engine import Stdio
from oci.errors import ContainerError
from oci.exits import ExitStack
from oci.protocol.messages import ContainerCreate, ContainerHandles, Done, ExecStarted, OciRuntime, SandboxNamespaces
from oci.shim.container import Container
from oci.shim.handlers import bundle, program
from oci.shim.log_file import open_log
from oci.shim.work.stdio import Pipes, open_pipes
from oci.shim.workers import Outcome
from oci.spec import Process, Spec, to_json


def create(
    request: ContainerCreate,
    runtime: OciRuntime,
    namespaces: SandboxNamespaces,
    spec: Spec,
    mount_fds: Mapping[int, int],
) -> Outcome:
    """A failure leaves nothing: the runtime is asked to delete what it made."""
    os.setpgid(0, 0)  # so that a kill of this worker takes the runtime along
    paths = bundle.namespace_paths(namespaces)
    directory = request.bundle
    with ExitStack() as undo:
        log_fd = None if request.log_path is None else open_log(request.log_path)
        undo.callback(bundle.detach, directory)
        volumes = bundle.attach(directory, request.rootfs_fd, mount_fds)
        bundle.write(directory, bundle.adapted(spec, paths, volumes))
        undo.callback(_delete_quietly, runtime, request.container_id, directory)
        terminal = spec.process is not None and spec.process.terminal
        with ExitStack() as theirs:
            stdio, pipes = (None, None) if terminal else open_pipes(request.stdin, theirs)
            pid, pidfd, console_fd = _make_process(
                runtime, "create", directory, ["--bundle", directory], [request.container_id], stdio
            )
        undo.pop_all()
    return _created(request, runtime, pid, _descriptors(pidfd, pipes, console_fd), log_fd)


def _descriptors(pidfd: int, pipes: Pipes | None, console_fd: int | None) -> dict[str, int]:
    fds = {"pidfd": pidfd}
    if pipes is not None:
        fds |= {"stdout_fd": pipes.stdout, "stderr_fd": pipes.stderr}
        if pipes.stdin is not None:
            fds["stdin_fd"] = pipes.stdin
    if console_fd is not None:
        fds["console_fd"] = console_fd
    return fds


def _created(
    request: ContainerCreate, runtime: OciRuntime, pid: int, fds: dict[str, int], log_fd: int | None
) -> Outcome:
    answer = ContainerHandles(pid=pid, **fds)
    if log_fd is not None:
        fds = {**fds, "log_fd": log_fd}
    limits = request.log_size_max, request.log_rate_limit
    record = (pid, request.bundle, request.log_path, request.cgroup_path, *limits, (runtime.path, runtime.root))
    return Outcome(answer=answer, record=record, fds=fds)


def start(container: Container, runtime: OciRuntime) -> Outcome:
    program.run(runtime, "start", [container.id], container.bundle)
    return Outcome(answer=Done())


def kill(container: Container, runtime: OciRuntime, number: int) -> Outcome:
    """A container that is over is no error: it ended while the request was on its way."""
    try:
        program.run(runtime, "kill", [container.id, str(number)], container.bundle)
    except ContainerError:
        try:
            signal.pidfd_send_signal(container.pidfd, 0)
        except ProcessLookupError:
            return Outcome(answer=Done())
        raise
    return Outcome(answer=Done())


def execute(container: Container, runtime: OciRuntime, process: Process, stdio: Stdio | None) -> Outcome:
    """`stdio` is None where there is a terminal."""
    directory = container.bundle
    path = f"{directory}/process-{os.getpid()}.json"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(to_json(process), file)
    try:
        options = ["--detach", "--process", path]
        pid, pidfd, console_fd = _make_process(runtime, "exec", directory, options, [container.id], stdio)
    finally:
        program.remove(path)
    fds = _descriptors(pidfd, None, console_fd)
    return Outcome(answer=ExecStarted(pid=pid, **fds), record=(pid,), fds=fds)


def delete(runtime: OciRuntime, container_id: str, directory: str) -> None:
    """Idempotent: with --force a container that does not exist is none to the runtime either."""
    if bundle.is_attached(directory):
        program.run(runtime, "delete", ["--force", container_id], directory)
        bundle.detach(directory)


def _delete_quietly(runtime: OciRuntime, container_id: str, directory: str) -> None:
    """What failed before is what counts, and the daemon will ask for the deletion of the rest."""
    try:
        program.run(runtime, "delete", ["--force", container_id], directory)
    except ContainerError:
        pass


def _make_process(
    runtime: OciRuntime, verb: str, directory: str, options: list[str], names: list[str], stdio: Stdio | None
) -> tuple[int, int, int | None]:
    """(pid, pidfd, master of its terminal where `stdio` is None) of the process that the runtime makes."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)  # so that it cannot be reaped before it has been opened
    pid_file = f"{directory}/{verb}-{os.getpid()}.pid"
    options = [*options, "--pid-file", pid_file]
    console_fd = None
    try:
        if stdio is None:
            with program.console(directory) as console:
                program.run(runtime, verb, [*options, "--console-socket", console.path, *names], directory)
                console_fd = console.receive()
                os.set_blocking(console_fd, False)
        else:
            program.run(runtime, verb, [*options, *names], directory, stdio)
        with open(pid_file, encoding="ascii") as file:
            pid = int(file.read())
        return pid, os.pidfd_open(pid), console_fd
    finally:
        program.remove(pid_file)
