"""Handing a seccomp listener to its agent (config-linux.md, "Seccomp", "The container process state")."""

from __future__ import annotations

from oci import sockets
from oci.errors import ContainerError
from oci.json_text import dumps, loads
from oci.spec import VERSION, Seccomp


def send_listener(profile: Seccomp, listener: int, pid: int, state: bytes) -> None:
    """One message, one descriptor, then the connection is closed."""
    document: dict[str, object] = {
        "ociVersion": VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "state": loads(state),
    }
    if profile.listener_metadata:
        document["metadata"] = profile.listener_metadata
    try:
        with sockets.closing_socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as agent:
            agent.connect(profile.listener_path or "")
            sockets.send(agent, dumps(document).encode(), listener)
    except OSError as error:
        raise ContainerError(
            "pass the seccomp listener", error.errno or 0, f"{profile.listener_path}: {error.strerror}"
        )
