"""coracle-oci run: create and start in one process, and wait unless detached."""

from __future__ import annotations

import os

from oci.cli.bundle import CREATE_OPTIONS, Made, make, plan_lines
from oci.cli.containers import only_word, send_console, tell_pid
from oci.cli.foreground import wait_for
from oci.cli.lifecycle import destroy, poststart
from oci.cli.options import Parsed, UsageError, switch
from oci.engine import Engine
from oci.exits import ExitStack
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "run [options] ID"
OPTIONS = (
    *CREATE_OPTIONS,
    switch("detach d", "do not wait for the process"),
    switch("keep", "do not remove the container when its process has ended"),
)


def run(settings: Settings, parsed: Parsed) -> int:
    if parsed.switch("dry-run"):
        print("\n".join(plan_lines(only_word(parsed), parsed)))  # noqa: T201
        return 0
    detached = parsed.switch("detach")
    with ExitStack() as undo:
        made = make(settings, parsed, undo, started_elsewhere=False)
        socket_path = parsed.text("console-socket")
        terminal = made.created.console_fd is not None
        if socket_path and not (detached and terminal):
            raise UsageError("--console-socket needs --detach and a terminal")
        if detached and terminal and not socket_path:
            raise UsageError("a detached terminal needs --console-socket")
        if socket_path and made.created.console_fd is not None:
            send_console(socket_path, made.created.console_fd)
            os.close(made.created.console_fd)
        tell_pid(parsed, made.created.pid, made.created.pidfd)
        if os.environ.get("NOTIFY_SOCKET"):
            from oci.cli.notify import relay

            relay(StateDirectory(settings.root).path(made.state.container_id), made.created.pid, made.created.pidfd)
        Engine.start(made.created)
        poststart(made.state, made.spec)
        undo.pop_all()
    return 0 if detached else _wait(settings, parsed, made)


def _wait(settings: Settings, parsed: Parsed, made: Made) -> int:
    try:
        return wait_for(made.created.pid, made.created.pidfd, made.created.console_fd)
    finally:
        if not parsed.switch("keep"):
            destroy(settings, made.state, made.spec, made.cgroup)
