"""Starts the launcher's process and reaps it. Knows how an interpreter is started, not what the launcher does.

A fresh interpreter (`-I -S`: no site, no environment, no user directory) from a sealed copy of our own executable, with
one end of a socket pair as descriptor 3. posix_spawn, never fork: the daemon has threads (gRPC's).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

import oci
from oci import sealed

_log = logging.getLogger(__name__)

SOCKET_FD = 3
_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from oci.launcher import main; main(sys.argv[2:])"
# PATH for hooks that name no path of their own; a container never sees any of this.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class LauncherProcess:
    """Spawned by the constructor; `socket` is our end, to be taken over. Raises OSError."""

    def __init__(self, *, cgroup: str | None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self.pid = _spawn(theirs.fileno(), cgroup)
            except BaseException:
                ours.close()
                raise
        self.socket = ours
        self._pidfd = os.pidfd_open(self.pid)
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._reap)

    async def wait(self) -> int:
        """Its exit code; negative for a signal."""
        code: int = await asyncio.shield(self._ended)
        return code

    def kill(self) -> None:
        if not self._ended.done():
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        self._ended.set_result(os.waitstatus_to_exitcode(status))


def _spawn(socket_fd: int, cgroup: str | None) -> int:
    path = sealed.interpreter()
    package_root = str(Path(oci.__file__).parent.parent)
    arguments = [path, "-I", "-S", "-X", "utf8", "-c", _CODE, package_root, *([] if cgroup is None else [cgroup])]
    try:
        executable = sealed.seal(path)
    except OSError as error:
        _log.warning("launcher runs from %s itself, not from a sealed copy: %s", path, error.strerror)
        return _posix_spawn(path, arguments, socket_fd)
    try:
        return _posix_spawn(f"/proc/self/fd/{executable}", arguments, socket_fd)
    finally:
        os.close(executable)


def _posix_spawn(executable: str, arguments: list[str], socket_fd: int) -> int:
    return os.posix_spawn(
        executable,
        arguments,
        _ENVIRONMENT,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, 2, 1),  # standard output belongs to the daemon alone
            (os.POSIX_SPAWN_DUP2, socket_fd, SOCKET_FD),
        ],
        setsid=True,  # Ctrl-C in the daemon's terminal is the daemon's
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    )
