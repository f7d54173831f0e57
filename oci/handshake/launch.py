"""One child on its way from clone to execve, seen from the parent: a small state machine over its channel.

    SETTING_UP ──READY──► WAITING ──release()──► FINISHING ──end of file──► EXECUTED
         └──────────────────┴──FAILED or death──────┴──► ContainerError, child reaped

`advance` handles one message and may be driven by an event loop (`fileno`), or by `run_until`. A child that was handed
over to the caller (`Created`) is the caller's to reap, also when it fails.
"""

from __future__ import annotations

import errno
import os
import struct
import time

from oci import syscalls as sc
from oci.enums import Enum
from oci.errors import ContainerError
from oci.handshake.channel import Kind, Message, answer, failure, receive
from oci.handshake.duties import Duties
from oci.sockets import Socket
from oci.values import fresh, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_LISTENER_PATIENCE: Final = 5.0
_PF_FORKNOEXEC: Final = 0x40


class Phase(Enum):
    SETTING_UP = "setting up"
    WAITING = "waiting"
    FINISHING = "finishing"
    EXECUTED = "executed"


@record
class Launch:
    pid: int
    pidfd: int
    channel: Socket
    duties: Duties = fresh(default_factory=Duties)
    phase: Phase = Phase.SETTING_UP
    console_fd: int | None = None
    warnings: tuple[str, ...] = ()
    handed_over: bool = False

    def fileno(self) -> int:
        return self.channel.fileno()

    def run_until(self, *phases: Phase) -> None:
        while self.phase not in phases:
            self.advance()

    def release(self) -> None:
        """Let a waiting child finish; the order of `advance` calls then ends with EXECUTED."""
        try:
            answer(self.channel, Kind.START)
        except OSError:
            raise self._dead("start", "the init process is gone")
        self.phase = Phase.FINISHING

    def advance(self) -> Phase:
        """Handle the next message. Raises ContainerError when the child failed, and whatever a duty raised; in both
        cases the child is dead and, unless handed over, reaped, and its descriptors are closed."""
        message = receive(self.channel)
        kind = message.kind
        if kind is Kind.FAILED:
            self._reap()
            raise failure(message.payload)
        if kind is Kind.EXECUTED:
            if self.phase is not Phase.FINISHING:
                raise self._dead("set up", "the init process died")
            if self._died_before_execve():
                raise self._dead("start", "the init process died before it could execute the program")
            self.channel.close()
            self.phase = Phase.EXECUTED
        elif kind is Kind.READY:
            self.phase = Phase.WAITING
        elif kind is Kind.CONSOLE:
            self.console_fd = message.fd
        else:
            self._serve(message)
        return self.phase

    def abandon(self) -> None:
        """Kill the child and give up."""
        self._kill()
        self._reap()

    def _serve(self, message: Message) -> None:
        try:
            self._do(message)
        except OSError as error:
            self.abandon()
            raise ContainerError(f"serve {message.kind.name.lower()}", error.errno or 0, str(error.strerror))
        except BaseException:
            self.abandon()
            raise
        answer(self.channel, Kind.GO)

    def _do(self, message: Message) -> None:
        duties = self.duties
        if message.kind is Kind.MAPPINGS and duties.write_mappings:
            duties.write_mappings(self.pid)
        elif message.kind is Kind.SIBLING and message.fd is not None:
            self._replace(message.fd)
        elif message.kind is Kind.HOOKS and duties.run_hooks:
            duties.run_hooks(self.pid)
        elif message.kind is Kind.ATTACHED and duties.attach:
            duties.attach(self.pid)
        elif message.kind is Kind.LISTENER and duties.send_listener:
            (number,) = struct.unpack("!i", message.payload)
            self._pass_listener(number)
        else:
            raise ContainerError("set up", 0, f"init asked for {message.kind.name}, which nobody expects")

    def _replace(self, pidfd: int) -> None:
        """The first child made a sibling in a user namespace and is leaving."""
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pidfd = pidfd
        self.pid = _pid_of(pidfd)
        if self.duties.adopt:
            self.duties.adopt(self.pid)

    def _pass_listener(self, number: int) -> None:
        listener = take_listener(self.pidfd, number)
        try:
            assert self.duties.send_listener is not None
            self.duties.send_listener(self.pid, listener)
        finally:
            os.close(listener)

    def _died_before_execve(self) -> bool:
        """End of file means execve or death. The kernel marks a process that has forked but not executed, dead or not,
        and takes the mark away before execve closes descriptors."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                content = file.read()
        except OSError:
            return False  # reaped by somebody else already
        return bool(int(content[content.rindex(b")") + 2 :].split()[6]) & _PF_FORKNOEXEC)

    def _dead(self, stage: str, text: str) -> ContainerError:
        self._kill()
        status = self._reap()
        if status is not None and os.WIFSIGNALED(status):
            text += f" by signal {os.WTERMSIG(status)}"
        return ContainerError(stage, errno.ESRCH, text)

    def _kill(self) -> None:
        try:
            os.kill(self.pid, 9)
        except ProcessLookupError:
            pass

    def _reap(self) -> int | None:
        self.channel.close()
        if self.handed_over:
            return None
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            status = None  # not ours: the container was created by another process
        for fd in (self.pidfd, self.console_fd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.pidfd, self.console_fd = -1, None
        return status


def take_listener(pidfd: int, number: int) -> int:
    """The seccomp listener out of the child, which may already be unable to tell us anything."""
    deadline = time.monotonic() + _LISTENER_PATIENCE
    while True:
        try:
            return sc.pidfd_getfd(pidfd, number)
        except OSError as error:
            if error.errno != errno.EBADF or time.monotonic() > deadline:
                raise ContainerError("pass the seccomp listener", error.errno or 0, str(error.strerror))
            time.sleep(0.0005)


def _pid_of(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    raise ContainerError("find the init process", errno.ESRCH, f"pidfd {pidfd} has no pid")
