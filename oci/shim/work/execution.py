"""A further process in a running container, until it has executed."""

from __future__ import annotations

import os
from contextlib import ExitStack

from oci.cgroups import CgroupDriver
from oci.engine import ExecRequest, Phase, Stdio
from oci.protocol.messages import ExecStart, ExecStarted
from oci.protocol.packet import exec_exited_template
from oci.shim.container import Container
from oci.shim.engine import Engine
from oci.shim.work.creation import load_document, read_program
from oci.shim.work.stdio import open_null
from oci.shim.workers import Outcome
from oci.spec import VERSION, Spec

_NO_SPEC = Spec(oci_version=VERSION)


def execute(container: Container, request: ExecStart, engine: Engine, cgroups: CgroupDriver | None) -> Outcome:
    """Raises what the executor raises."""
    cgroup = None if container.cgroup_path is None or cgroups is None else cgroups.open(container.cgroup_path)
    program = None if container.seccomp_fd is None else read_program(container.seccomp_fd)
    with ExitStack() as opened:
        launch = engine.launch_exec(
            ExecRequest(
                pid=container.pid,
                pidfd=container.pidfd,
                process=request.process,
                spec=_seccomp_spec(container.bundle) if program is None else _NO_SPEC,
                stdio=None if request.process.terminal else _stdio(request, opened),
                cgroup=cgroup,
                seccomp_program=program,
                container_id=container.id,
                bundle=container.bundle,
            )
        )
    launch.run_until(Phase.EXECUTED)
    fds = {"pidfd": launch.pidfd}
    if launch.console_fd is not None:
        os.set_blocking(launch.console_fd, False)
        fds["console_fd"] = launch.console_fd
    event = exec_exited_template(container.id, request.exec_id, launch.pid)
    return Outcome(answer=ExecStarted(pid=launch.pid, **fds), record=(launch.pid, request.exec_id, event), fds=fds)


def _seccomp_spec(bundle: str) -> Spec:
    """All that an exec wants of its container's configuration is the seccomp profile; reading the rest takes longer."""
    document = load_document(bundle)
    linux = document.get("linux") if isinstance(document, dict) else None
    profile = linux.get("seccomp") if isinstance(linux, dict) else None
    return _NO_SPEC if profile is None else Spec.from_json({"ociVersion": VERSION, "linux": {"seccomp": profile}})


def _stdio(request: ExecStart, opened: ExitStack) -> Stdio:
    """The daemon's descriptors; where one is missing, /dev/null."""
    given = (request.stdin_fd, request.stdout_fd, request.stderr_fd)
    null = -1
    if None in given:
        null = open_null()
        opened.callback(os.close, null)
    stdin, stdout, stderr = (null if fd is None else fd for fd in given)
    return Stdio(stdin=stdin, stdout=stdout, stderr=stderr)
