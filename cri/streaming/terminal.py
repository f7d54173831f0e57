"""What is done to a terminal by its master: size, and hanging up. The kernel tells the processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import termios

from cri.streaming.remote_command import TerminalSize

TIOCGPTPEER = 0x5441
TIOCVHANGUP = 0x5437


def resize(master: int, size: TerminalSize) -> None:
    """The foreground processes get SIGWINCH."""
    with contextlib.suppress(OSError):  # the last process has gone, and its terminal with it
        termios.tcsetwinsize(master, (size.height, size.width))


def hang_up(master: int) -> None:
    """As when a modem loses its line: SIGHUP for the session's leader and the foreground, end of file for all.

    Closing our master would not do: the shim holds another.
    """
    with contextlib.suppress(OSError):
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(slave, TIOCVHANGUP)
        finally:
            os.close(slave)
