"""A container's process in the foreground: signals go to it, the terminal goes through us, its exit status is ours."""

from __future__ import annotations

import os
import select
import struct
from fcntl import ioctl

from oci.exits import ExitStack
from oci.signals import send_signal, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 65536
# SIGCHLD is ours, SIGURG and SIGWINCH are not for passing on; the rest of the missing ones cannot be caught.
_FORWARDED = frozenset(signal.valid_signals()) - {
    signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE,
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
}  # fmt: skip


def wait_for(pid: int, pidfd: int, console: int | None) -> int:
    """Exit status of the process; 128 + signal when one killed it."""
    for number in _FORWARDED:
        signal.signal(number, _forward(pidfd))
    if console is None:
        _, status = os.waitpid(pid, 0)
    else:
        with ExitStack() as restore:
            _raw(restore, console)
            _pump(pidfd, console)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _forward(pidfd: int) -> Callable[[int, object], None]:
    def handler(number: int, frame: object) -> None:
        send_signal(pidfd, number)  # it may be over, as waitpid is about to tell

    return handler


def _raw(restore: ExitStack, console: int) -> None:
    if not os.isatty(0):
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    restore.callback(termios.tcsetattr, 0, termios.TCSADRAIN, before)
    tty.setraw(0)

    def resize(number: int, frame: object) -> None:
        size = ioctl(0, termios.TIOCGWINSZ, struct.pack("=4H", 0, 0, 0, 0))
        ioctl(console, termios.TIOCSWINSZ, size)

    resize(0, None)
    signal.signal(signal.SIGWINCH, resize)


def _pump(pidfd: int, console: int) -> None:
    poll = select.poll()
    for fd in (0, console, pidfd):
        poll.register(fd, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if console in ready and not _copy(console, 1):
            return
        if 0 in ready and not _copy(0, console):
            poll.unregister(0)
        if pidfd in ready and console not in ready:
            return


def _copy(source: int, target: int) -> bool:
    try:
        data = os.read(source, _CHUNK)
    except OSError:  # the slave's last holder is gone
        return False
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return bool(data)
