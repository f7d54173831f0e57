"""The launcher's process: started, spoken to, reaped. Knows how an interpreter is started and the launcher's few words.

A fresh interpreter (`-I -S`: no site, no environment, no user directory) from a sealed copy of our own executable, with
one end of a socket pair as descriptor 3. posix_spawn, never fork: the daemon has threads (gRPC's).
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path

import oci
from cri.shims.connection import ShimGone
from oci import sealed
from oci.protocol import forking
from oci.protocol.forking import ForkShim

_log = logging.getLogger(__name__)

SOCKET_FD = 3
_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from oci.launcher import main; main(sys.argv[2:])"
# PATH for hooks that name no path of their own; a container never sees any of this. With everything bound at start a
# shim writes to fewer pages of its own later.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "LD_BIND_NOW": "1",
}


class LauncherProcess:
    """Spawned by the constructor. Raises OSError. `on_exit` is called when it has died."""

    def __init__(self, *, cgroup: str | None, on_exit: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self.pid = _spawn(theirs.fileno(), cgroup)
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours
        self._on_exit = on_exit
        # The first packet is unasked for: it says that the launcher is ready.
        self._ready: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting: deque[asyncio.Future[bytes]] = deque([self._ready])
        self._exit_code: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self._loop.add_reader(ours, self._readable)
        self.is_alive = True

    async def ready(self) -> list[str]:
        """The problems it met. Raises `ShimGone`."""
        return forking.unpack_ready(await self._ready)

    async def fork(self, request: ForkShim, listener: socket.socket, peer: socket.socket) -> int:
        """The pid of the new shim. Raises `ShimGone`, and OSError when the launcher could not fork."""
        fds = array.array("i", (listener.fileno(), peer.fileno()))
        answer = self._send(forking.pack_request(request), [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        try:
            pid = forking.unpack_answer(await asyncio.shield(answer))
        except asyncio.CancelledError:
            answer.add_done_callback(_end_unheard)
            raise
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid), "fork of a shim")
        return pid

    async def ping(self) -> None:
        """Returns when it has answered. Raises `ShimGone`."""
        await asyncio.shield(self._send(forking.PING, []))

    def _send(self, data: bytes, ancillary: list[tuple[int, int, array.array[int]]]) -> asyncio.Future[bytes]:
        """The answer to come. Raises `ShimGone`."""
        if not self.is_alive:
            raise ShimGone("launcher", "exited")
        answer: asyncio.Future[bytes] = self._loop.create_future()
        try:
            # Never more than a few hundred bytes under way: the socket takes them at once.
            self._socket.sendmsg([data], ancillary)
        except ConnectionError:  # it died, and we have not been told yet
            self._lose()
            raise ShimGone("launcher", "exited") from None
        self._waiting.append(answer)
        return answer

    async def wait(self) -> int:
        """Its exit code; negative for a signal."""
        return await asyncio.shield(self._exit_code)

    def close(self) -> None:
        """The launcher ends by itself then."""
        self._lose()

    def kill(self) -> None:
        if not self._exit_code.done():
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(forking.LIMIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
        elif self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(data)

    def _lose(self) -> None:
        if not self.is_alive:
            return
        self.is_alive = False
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for future in self._waiting:
            if not future.done():
                future.set_exception(ShimGone("launcher", "exited"))
        self._waiting.clear()

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        self._exit_code.set_result(os.waitstatus_to_exitcode(status))
        self._lose()
        self._on_exit()


def _end_unheard(answer: asyncio.Future[bytes]) -> None:
    """A shim that nobody waits for any more would stay for ever."""
    if not answer.cancelled() and answer.exception() is None:
        pid = forking.unpack_answer(answer.result())
        if pid > 0:
            os.kill(pid, signal.SIGKILL)


def _spawn(socket_fd: int, cgroup: str | None) -> int:
    path, command = sealed.interpreter()
    package_root = str(Path(oci.__file__).parent.parent)
    arguments = [*command, "-I", "-S", "-X", "utf8", "-c", _CODE, package_root, *([] if cgroup is None else [cgroup])]
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
