"""coracle-oci create"""

from __future__ import annotations

from oci.cli.bundle import CREATE_OPTIONS, make, plan_lines
from oci.cli.containers import only_word, send_console, tell_pid
from oci.cli.options import Parsed, UsageError
from oci.exits import ExitStack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "create [options] ID"
OPTIONS = CREATE_OPTIONS


def run(settings: Settings, parsed: Parsed) -> int:
    if parsed.switch("dry-run"):
        print("\n".join(plan_lines(only_word(parsed), parsed)))  # noqa: T201
        return 0
    with ExitStack() as undo:
        made = make(settings, parsed, undo, started_elsewhere=True)
        terminal = made.spec.process is not None and made.spec.process.terminal
        if terminal != bool(parsed.text("console-socket")):
            raise UsageError("--console-socket goes with a terminal, and a detached terminal with --console-socket")
        if made.created.console_fd is not None:
            send_console(parsed.text("console-socket"), made.created.console_fd)
        tell_pid(parsed, made.created.pid, made.created.pidfd)
        undo.pop_all()
    return 0
