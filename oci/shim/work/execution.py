"""A further process in a running container: what the fork that is to become it does until it executes."""

from __future__ import annotations

import os
import signal
import socket
from typing import Final, NoReturn

from oci.cgroups import CgroupDriver
from oci.engine import ExecRequest, Stdio
from oci.protocol import failures, packet
from oci.protocol.messages import ExecStart
from oci.shim.container import Container
from oci.shim.engine import Engine
from oci.shim.server import Request
from oci.shim.sockets import Socket
from oci.shim.work.creation import load_document, read_program
from oci.shim.work.stdio import open_null
from oci.spec import VERSION, Spec

#: Before a ready-made answer, among the messages of `oci.handshake.channel`.
REFUSED: Final = b"!"
_NO_SPEC: Final = Spec(oci_version=VERSION)


def become(
    container: Container,
    request: Request,
    engine: Engine,
    cgroups: CgroupDriver | None,
    channel: Socket,
    shims_end: Socket,
) -> NoReturn:
    """Speaks to the shim on `channel`, as a launch's child does; or REFUSED and the answer to the request."""
    child, parent = (socket.socket(fileno=end.detach()) for end in (channel, shims_end))
    try:
        signal.set_wakeup_fd(-1)
        engine.become_process(_request(container, request.read(ExecStart), cgroups), child, parent)
    except Exception as error:
        data, _ = packet.pack(request.id, failures.from_exception(error))
        child.send(REFUSED + data)
    finally:
        os._exit(1)


def _request(container: Container, start: ExecStart, cgroups: CgroupDriver | None) -> ExecRequest:
    program = None if container.seccomp_fd is None else read_program(container.seccomp_fd)
    return ExecRequest(
        pid=container.pid,
        pidfd=container.pidfd,
        process=start.process,
        spec=_seccomp_spec(container.bundle) if program is None else _NO_SPEC,
        stdio=stdio_of(start),
        cgroup=None if container.cgroup_path is None or cgroups is None else cgroups.open(container.cgroup_path),
        seccomp_program=program,
        container_id=container.id,
        bundle=container.bundle,
    )


def _seccomp_spec(bundle: str) -> Spec:
    """All that an exec wants of its container's configuration is the seccomp profile; reading the rest takes longer."""
    document = load_document(bundle)
    linux = document.get("linux") if isinstance(document, dict) else None
    profile = linux.get("seccomp") if isinstance(linux, dict) else None
    return _NO_SPEC if profile is None else Spec.from_json({"ociVersion": VERSION, "linux": {"seccomp": profile}})


def stdio_of(start: ExecStart) -> Stdio | None:
    """The daemon's descriptors; where one is missing, /dev/null. None where there is to be a terminal."""
    if start.process.terminal:
        return None
    given = (start.stdin_fd, start.stdout_fd, start.stderr_fd)
    null = open_null() if None in given else -1
    stdin, stdout, stderr = (null if fd is None else fd for fd in given)
    return Stdio(stdin=stdin, stdout=stdout, stderr=stderr)
