"""A program on a terminal of its own, in a session of its own: many cases are skipped without one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """`silent` when it was killed because it printed nothing for too long."""

    lines: tuple[str, ...]
    silent: bool


def run(
    command: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    patience: float,
    every_tick: Callable[[int], None],
) -> Ran:
    """stdin, stdout and stderr are the terminal. `every_tick` gets the program's pid about ten times a second."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            # A line must not be broken or changed on its way.
            attributes = termios.tcgetattr(1)
            attributes[1] &= ~termios.OPOST
            termios.tcsetattr(1, termios.TCSANOW, attributes)
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("=4H", 50, 200, 0, 0))
            os.chdir(directory)
            os.execvpe(command[0], list(command), dict(environment))
        finally:
            os._exit(127)
    output = bytearray()
    last = time.monotonic()
    silent = False
    try:
        while True:
            every_tick(pid)
            ready, _, _ = select.select([master], [], [], _TICK)
            if ready:
                try:
                    data = os.read(master, 65536)
                except OSError:
                    break
                output += data
                last = time.monotonic()
            elif os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break  # a container it left still holds the terminal
            elif time.monotonic() - last > patience:
                silent = True
                os.killpg(pid, signal.SIGKILL)
                break
    finally:
        os.close(master)
    os.waitpid(pid, 0)
    return Ran(lines=tuple(output.decode(errors="replace").splitlines()), silent=silent)
