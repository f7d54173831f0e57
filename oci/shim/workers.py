"""Workers: a fork of the shim for one request. Knows how they come and go, not what they do.

    shim                                 worker
    spawn(work, finished) ── fork ─────► work() -> Outcome
                                         children it made are on their way or waiting
    finished(outcome, fds) ◄── one packet: reply, record, descriptors
    the children are ours now ◄───────── exit

A worker that dies without a word has its request answered with a failure. It may block for as long as it likes: the
shim goes on, and can kill it.
"""

from __future__ import annotations

import array
import marshal
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, Final, NoReturn

from oci import syscalls
from oci.protocol import failures, transport
from oci.protocol.failures import Failure, PeerFault
from oci.protocol.messages import Message
from oci.shim import buffer, sockets
from oci.shim.loop import Children, Loop
from oci.shim.server import Request
from oci.shim.sockets import Socket
from oci.values import fresh, frozen

_ANCILLARY: Final = socket.CMSG_SPACE(253 * 4)


@frozen
class Outcome:
    """`answer` goes to the daemon; with None the request is answered later. `record` is plain values for the shim's
    books, `fds` descriptors by name."""

    answer: Message | None
    record: tuple[Any, ...] = ()
    fds: dict[str, int] = fresh(default_factory=dict)


#: Goes on in the worker when it has nothing to say but to the shim: by the function it is given, once.
Becoming = Callable[[Callable[[Outcome], None]], NoReturn]
Work = Callable[[], Outcome | Becoming]
#: Gets the record (None: the work failed) and the named descriptors; those it does not take are closed afterwards.
Finished = Callable[[tuple[Any, ...] | None, dict[str, int]], None]


class Workers:
    def __init__(self, loop: Loop, children: Children, fault: Callable[[BaseException], None]) -> None:
        self._loop = loop
        self._children = children
        self._fault = fault
        self._active = 0

    def spawn(self, request: Request, work: Work, finished: Finished, *, new_pid: bool = False) -> int:
        """The worker's pid; OSError when fork fails. `finished` is called from the loop, after the answer went.

        With `new_pid` it is the first of a pid namespace, to become a container's init: `finished` has it watched then.
        """
        ours, theirs = sockets.pair()
        try:
            pid = _fork_first() if new_pid else os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            ours.close()
            self._be_worker(theirs, request.id, work)
        theirs.close()
        self._active += 1
        if not new_pid:
            self._children.watch(pid, _reaped)
        self._loop.add(ours.fileno(), lambda _: self._heard(ours, request, finished))
        return pid

    def _heard(self, ours: Socket, request: Request, finished: Finished) -> None:
        self._loop.remove(ours.fileno())
        try:
            data, control, _ = buffer.receive(ours, _ANCILLARY)
        finally:
            ours.close()
        fds = array.array("i")
        for _level, _kind, content in control:
            fds.frombytes(content)
        if not data:
            finished(None, {})
            self._over()
            if request.id:
                request.fail(PeerFault("WorkerDied", "the process that served the request was killed"))
            return
        answer, count, places, record = marshal.loads(data)
        named = {name: fds[place] for name, place in places.items()}
        try:
            if answer:
                request.send(answer, fds[:count])
            finished(record, named)
        finally:
            taken = {fds[place] for name, place in places.items() if name not in named}
            for fd in fds:
                if fd not in taken:
                    os.close(fd)
            self._over()

    def _over(self) -> None:
        self._active -= 1
        if self._active == 0:
            self._children.forget_unclaimed()

    def _be_worker(self, theirs: Socket, id: int, work: Work) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            result = self._perform(work)
            if isinstance(result, (Outcome, Failure)):
                transport.send(theirs, _packet(id, result))
                os._exit(0)
            result(lambda outcome: transport.send(theirs, _packet(id, outcome)))
        except Exception as error:
            self._fault(error)
        finally:
            os._exit(1)

    def _perform(self, work: Work) -> Outcome | Becoming | Failure:
        try:
            return work()
        except Exception as error:
            failure = failures.from_exception(error)
            if not failure.error:
                self._fault(error)
            return failure


def _fork_first() -> int:
    pid, pidfd = syscalls.clone3(syscalls.CLONE_NEWPID)
    if pid:
        os.close(pidfd)
    return pid


def _packet(id: int, result: Outcome | Failure) -> transport.Outgoing:
    """The answer ready to be sent, where the named descriptors stand among all, and the record."""
    failed = isinstance(result, Failure)
    said = result if isinstance(result, Failure) else result.answer
    outgoing = transport.Outgoing(b"", ()) if said is None else transport.prepare(id, said)
    fds = list(outgoing.fds)
    places = {}
    record = None
    if isinstance(result, Outcome):
        record = result.record
        for name, fd in result.fds.items():
            if fd not in fds:
                fds.append(fd)
            places[name] = fds.index(fd)
    # An event that could not be made (id 0) is no answer to anybody.
    answer = b"" if failed and id == 0 else outgoing.data
    return transport.Outgoing(marshal.dumps((answer, len(outgoing.fds), places, record)), tuple(fds))


def nothing(_: tuple[Any, ...] | None, __: dict[str, int]) -> None:
    """`Finished` for work that leaves no trace in the shim's books."""


def _reaped(_: int) -> None:
    pass
