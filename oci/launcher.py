"""The launcher: a small process with everything imported that forks the shims. Owns no pod and no policy.

Started by the daemon as a fresh interpreter with one end of a SEQPACKET socket pair as descriptor 3; it ends when the
daemon's end closes. Its shims do not. It is the reaper of what a dying shim leaves behind, so that nothing stays a
zombie while the daemon hands the pod to another shim.

What makes a fork cheap and its memory shared: few modules, all of them imported before; no garbage collection that
would write to every object (`gc.freeze`, `gc.disable`); one thread; and between two forks next to nothing is done.
"""

from __future__ import annotations

import array
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final

from oci import cgroups, syscalls
from oci.engine.equipment import Equipment
from oci.errors import OciError
from oci.protocol import forking
from oci.shim.become import become
from oci.shim.engine import Executor
from oci.shim.shim import Shim
from oci.shim.warm import warm

SOCKET_FD: Final = 3
_NAME: Final = "coracle-launch"


def main(arguments: Sequence[str]) -> None:
    """`arguments` may hold the cgroup to join."""
    daemon = socket.socket(fileno=SOCKET_FD)
    daemon.set_inheritable(False)
    syscalls.close_range(SOCKET_FD + 1)
    Launcher(daemon, arguments[0] if arguments else None).run()


class Launcher:
    def __init__(self, daemon: socket.socket, cgroup: str | None) -> None:
        self._daemon = daemon
        self._problems: list[str] = []
        self._cgroups = self._detect_cgroups()
        self._equipment = Equipment.gather()
        executor = Executor(self._equipment)
        syscalls.set_process_name(_NAME)
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        # For the shims too: they end when their socket tells them, or by SIGKILL. What is executed gets the defaults.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.siginterrupt(signal.SIGCHLD, False)
        warm(executor)
        self._shim = Shim(executor, self._cgroups)
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        if cgroup is not None:
            self._join(cgroup)

    def run(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        self._daemon.send(forking.pack_ready(self._problems))
        poll = select.poll()
        poll.register(self._daemon, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake:
                    self._reap()
                elif not self._serve():
                    return

    def _serve(self) -> bool:
        """One request; False when the daemon is gone."""
        data, control, _, _ = self._daemon.recvmsg(forking.LIMIT, socket.CMSG_SPACE(8), socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        fds = array.array("i")
        for _level, _kind, content in control:
            fds.frombytes(content)
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            listener, peer = fds
            become(self._shim, forking.unpack_request(data), listener, peer, self._equipment.proc)
        for fd in fds:
            os.close(fd)
        self._daemon.send(forking.pack_answer(pid))
        return True

    def _detect_cgroups(self) -> cgroups.CgroupDriver | None:
        try:
            return cgroups.detect()
        except (OciError, OSError) as error:
            self._problems.append(f"no container can be limited: {error}")
            return None

    def _join(self, path: str) -> None:
        try:
            if self._cgroups is not None:
                self._cgroups.create(path, None).attach(os.getpid())
        except (OciError, OSError) as error:
            self._problems.append(f"shims stay in the daemon's cgroup, not in {path}: {error}")

    def _reap(self) -> None:
        try:
            os.read(self._wake, 4096)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except (BlockingIOError, ChildProcessError):
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
