"""The launcher: a small process with everything imported that forks the shims. Owns no pod and no policy.

Started by the daemon as a fresh interpreter with one end of a SEQPACKET socket pair as descriptor 3; it ends when the
daemon's end closes. Its shims do not. It is the reaper of what a dying shim leaves behind, so that nothing stays a
zombie while the daemon hands the pod to another shim.

What makes a fork cheap and its memory shared: few modules, all of them imported before; no garbage collection that
would write to every object (`gc.freeze`, `gc.disable`); one thread; and between two forks next to nothing is done.
"""

from __future__ import annotations

import array
import errno
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final

from oci import cgroups, cpython, routines, syscalls
from oci.engine.equipment import Equipment
from oci.errors import CgroupError, OciError
from oci.merging import let_pages_merge
from oci.originals import Originals, keep
from oci.protocol import forking
from oci.shim.become import become, close_all_but
from oci.shim.engine import Executor
from oci.shim.gather import fill_holes, gather, watch
from oci.shim.shim import Shim
from oci.shim.warm import warm

SOCKET_FD: Final = 3
_NAME: Final = "coracle-launch"
_REHEARSALS: Final = 16
_QUIET_MS: Final = 100
_CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_ANCILLARY: Final = socket.CMSG_SPACE(8)


def main(arguments: Sequence[str]) -> None:
    """`arguments` may hold the cgroup to join."""
    daemon = socket.socket(fileno=SOCKET_FD)
    daemon.set_inheritable(False)
    syscalls.close_range(SOCKET_FD + 1)
    launcher = Launcher(daemon, arguments[0] if arguments else None)
    try:
        launcher.run()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the daemon was killed: nobody is left to be told anything


class Launcher:
    def __init__(self, daemon: socket.socket, cgroup: str | None) -> None:
        self._daemon = daemon
        self._oom_score_adj: int | None = None
        self._problems: list[str] = []
        self._cgroups = self._detect_cgroups()
        self._equipment = Equipment.gather()
        executor = Executor(self._equipment)
        syscalls.set_process_name(_NAME)
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        # For the shims too: they end when their socket tells them, or by SIGKILL. What is executed gets the defaults.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.siginterrupt(signal.SIGCHLD, False)
        try:
            warm(executor)
        except OSError as error:
            self._problems.append(f"shims will use more memory, they cannot be rehearsed: {error}")
        self._shim = Shim(executor, self._cgroups)
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        gather(watch(self._rehearse))
        self._rehearse()
        if cgroup is not None:
            self._join(cgroup)

    def run(self) -> None:
        originals = self._settle()
        self._daemon.send(forking.pack_ready(self._problems))
        poll = select.poll()
        poll.register(self._daemon, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        wait = None
        while True:
            ready = poll.poll(wait)
            for fd, _ in ready:
                if fd == self._wake:
                    self._reap()
                elif not self._serve():
                    return
            if originals is not None:
                if not ready:
                    originals.restore()
                wait = _QUIET_MS if ready else None

    def _settle(self) -> Originals | None:
        """From here on everything stays where it is. What the forks will write to lies apart from what they share."""
        gc.collect()
        loaded = routines.load()
        if loaded is not None and cpython.counts_come_first():
            cpython.raise_counts(loaded)
            gc.collect()  # also empties the lists of tuples to be used again, which lie everywhere
        self._ballast = fill_holes()  # for the shims to put their own objects side by side
        gc.freeze()
        gc.disable()
        originals = None
        try:
            if loaded is not None:
                originals = keep(loaded)
                self._shim.rest_with(originals.restore)
        except OSError as error:
            self._problems.append(f"shims will use more memory, nothing gives it back: {error}")
        let_pages_merge()
        return originals

    def _serve(self) -> bool:
        """One request; False when the daemon is gone."""
        data, control, _, _ = self._daemon.recvmsg(forking.LIMIT, _ANCILLARY, _CLOEXEC)
        if not data:
            return False
        fds = array.array("i")
        for _level, _kind, content in control:
            fds.frombytes(content)
        if data == forking.PING:
            self._daemon.send(forking.pack_answer(0))
            return True
        request = forking.unpack_request(data)
        if request.oom_score_adj != self._oom_score_adj:
            self._adjust_oom_score(request.oom_score_adj)
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            listener, peer = fds
            become(self._shim, request, listener, peer, self._equipment.proc)
        for fd in fds:
            os.close(fd)
        self._daemon.send(forking.pack_answer(pid))
        return True

    def _adjust_oom_score(self, score: int | None) -> None:
        """Ours, which the shims inherit: the daemon asks for the same one each time."""
        self._oom_score_adj = score
        if score is None:
            return
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(score).encode())
        except PermissionError:
            # Lowering takes CAP_SYS_RESOURCE, which a daemon in a container may lack: no reason to have no pod.
            pass
        finally:
            os.close(fd)

    def _rehearse(self) -> None:
        """Some requests of our own, for shims that end before they do anything: so that those to come write to less."""
        daemon = self._daemon
        ours, self._daemon = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, writer = os.pipe()
        request = forking.pack_request(forking.ForkShim(sandbox_id="-", directory="/nonexistent"))
        fds = array.array("i", (reader, writer))  # no sockets: the shim ends there and then
        for _ in range(_REHEARSALS):
            ours.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
            self._serve()
            os.waitpid(forking.unpack_answer(ours.recv(forking.LIMIT)), 0)
            self._reap()
            syscalls.become_subreaper()
            close_all_but(fds, _close_nothing)
        for end in (ours, self._daemon):
            end.close()
        os.close(reader)
        os.close(writer)
        self._daemon = daemon

    def _detect_cgroups(self) -> cgroups.CgroupDriver | None:
        try:
            return cgroups.detect()
        except (OciError, OSError) as error:
            self._problems.append(f"no container can be limited: {error}")
            return None

    def _join(self, path: str) -> None:
        try:
            if self._cgroups is not None:
                _join_or_make(self._cgroups, path)
        except (OciError, OSError) as error:
            self._problems.append(f"shims stay in the daemon's cgroup, not in {path}: {error}")

    def _reap(self) -> None:
        try:
            os.read(self._wake, 4096)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except (BlockingIOError, ChildProcessError):
            pass


def _join_or_make(driver: cgroups.CgroupDriver, path: str) -> None:
    """One that is there is joined as it is: in a systemd unit no controllers may be handed down to it."""
    try:
        driver.open(path).attach(os.getpid())
    except CgroupError as error:
        if error.errno != errno.ENOENT:
            raise
        driver.create(path, None).attach(os.getpid())


def _close_nothing(_first: int, _end: int) -> None:
    pass


if __name__ == "__main__":
    main(sys.argv[1:])
