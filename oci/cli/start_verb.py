"""coracle-oci start"""

from __future__ import annotations

import os

from oci import sockets
from oci.cli.options import Option, Parsed, UsageError
from oci.errors import HookError, StateError
from oci.handshake.duties import Duties
from oci.handshake.launch import Launch, Phase
from oci.json_text import loads
from oci.state import START_SOCKET, ContainerState, StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "start ID"
OPTIONS: tuple[Option, ...] = ()


def run(settings: Settings, parsed: Parsed) -> int:
    if len(parsed.words) != 1:
        raise UsageError("needs exactly one container id")
    container_id = parsed.words[0]
    directory = StateDirectory(settings.root)
    state = directory.load(container_id)
    status = directory.status(state)
    if status != "created":
        raise StateError(container_id, f"cannot be started, it is {status}")
    launch = Launch(
        pid=state.pid,
        pidfd=os.pidfd_open(state.pid),
        channel=_connect(directory.path(container_id)),
        phase=Phase.WAITING,
        duties=_duties(directory, state),
        handed_over=True,
    )
    directory.started(container_id)
    if os.environ.get("NOTIFY_SOCKET"):
        from oci.cli.notify import relay

        relay(directory.path(container_id), state.pid, launch.pidfd)
    launch.release()
    launch.run_until(Phase.EXECUTED)
    _poststart(settings, directory, state)
    return 0


def _connect(path: str) -> sockets.Socket:
    channel = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        channel.connect(f"/proc/self/fd/{fd}/{START_SOCKET}")
    finally:
        os.close(fd)
    return channel


def _duties(directory: StateDirectory, state: ContainerState) -> Duties:
    """A seccomp listener is made between start and execve; everything else is done by now."""
    duties = Duties()
    content = directory.config(state.container_id)
    if b"listenerPath" in content:
        from oci.cli.containers import parse_config
        from oci.engine.hooks import state_document
        from oci.engine.listener import send_listener

        profile = parse_config(content, "config.json").linux.seccomp
        document = state_document(state.container_id, "creating", state.pid, state.bundle, state.annotations)
        if profile is not None and profile.listener_path:
            duties.send_listener = lambda pid, fd: send_listener(profile, fd, pid, document)
    return duties


def _poststart(settings: Settings, directory: StateDirectory, state: ContainerState) -> None:
    content = directory.config(state.container_id)
    if b"poststart" not in content or not loads(content).get("hooks"):
        return
    from oci.cli.containers import parse_config
    from oci.cli.lifecycle import destroy, poststart

    spec = parse_config(content, "config.json")
    try:
        poststart(state, spec)
    except HookError:
        # The container is stopped by now, and its life goes on at its end (runtime.md, "Lifecycle", 9).
        destroy(settings, state, spec)
        raise
