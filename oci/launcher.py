"""The launcher: a small process with everything imported that forks the shims. Owns no pod and no policy.

Started by the daemon as a fresh interpreter with one end of a SEQPACKET socket pair as descriptor 3; it ends when the
daemon's end closes. Its shims do not. It becomes the reaper of what a dying shim leaves behind, so that nothing
stays a zombie while the daemon hands the pod to another shim.

What makes a fork cheap and its memory shared: few modules, all of them imported before; no garbage collection that
would write to every object (`gc.freeze`, `gc.disable`); one thread.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final

from oci import cgroups, syscalls
from oci.engine import Engine
from oci.engine.equipment import Equipment
from oci.errors import OciError
from oci.protocol import failures, transport
from oci.protocol.messages import ForkShim, Hello, LauncherReady, Message, ShimForked
from oci.shim.become import BACKLOG, become
from oci.shim.shim import SOCKET_NAME, Config

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
        self._engine = Engine(self._equipment)
        syscalls.set_process_name(_NAME)
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        # For the shims too: they end when their socket tells them, or by SIGKILL. What is executed gets the defaults.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.siginterrupt(signal.SIGCHLD, False)
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        if cgroup is not None:
            self._join(cgroup)

    def run(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        poll = select.poll()
        poll.register(self._daemon, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._wake in ready:
                self._reap()
            if self._daemon.fileno() in ready and not self._serve():
                return

    def _serve(self) -> bool:
        """One request; False when the daemon is gone."""
        packet = transport.receive(self._daemon)
        if packet is None:
            return False
        answer: Message
        try:
            answer = self._answer(packet.message)
        except Exception as error:
            answer = failures.from_exception(error)
        transport.close_descriptors(packet.message)
        transport.send(self._daemon, transport.prepare(packet.id, answer))
        transport.close_descriptors(answer)
        return True

    def _answer(self, request: Message) -> Message:
        if isinstance(request, ForkShim):
            return self._fork(request)
        if isinstance(request, Hello):
            return LauncherReady(pid=os.getpid(), problems=tuple(self._problems))
        raise failures.ProtocolError(f"{request.KIND} is not a request to the launcher")

    def _fork(self, request: ForkShim) -> ShimForked:
        config = Config(
            sandbox_id=request.sandbox_id,
            directory=request.directory,
            engine=self._engine,
            cgroups=self._cgroups,
            keep_fds=(self._equipment.proc,),
        )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, listen(request.directory) as listener:
            try:
                pid, pidfd = syscalls.clone3(0)
            except OSError:
                ours.close()
                raise
            if pid == 0:
                become(config, listener, theirs, request.oom_score_adj)
        return ShimForked(pid=pid, pidfd=pidfd, connection_fd=ours.detach())

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


def listen(directory: str) -> socket.socket:
    """The shim's socket, 0600. A dead one that lies there is replaced, a living one is an error (EADDRINUSE)."""
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # Through the directory's descriptor: sun_path holds 107 bytes, the directory's name may be longer.
        path = f"/proc/self/fd/{parent}/{SOCKET_NAME}"
        _clear(path)
        umask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(parent)
    return sock


def _clear(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, "a shim listens there already", path)


if __name__ == "__main__":
    main(sys.argv[1:])
