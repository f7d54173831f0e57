"""The shim's event loop: epoll for descriptors, SIGCHLD for children. Owns neither.

A callback that raises is logged and the loop goes on: one container's trouble must not end its neighbours' shim.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

#: Events handled between two looks at epoll; level-triggered, so what is left over comes first the next time.
_BATCH = 32

Ready = Callable[[int], None]
Exited = Callable[[int], None]


class Loop:
    def __init__(self, fault: Callable[[BaseException], None]) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Ready] = {}
        self._fault = fault
        self._running = True

    def add(self, fd: int, callback: Ready, events: int = select.EPOLLIN) -> None:
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Before the descriptor is closed: a duplicate elsewhere would keep a closed one in the epoll set."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run(self) -> None:
        while self._running:
            for fd, events in self._epoll.poll(maxevents=_BATCH):
                callback = self._callbacks.get(fd)
                if callback is not None:  # an earlier callback of this batch may have removed it
                    self.call(callback, events)

    def call(self, callback: Ready, argument: int) -> None:
        try:
            callback(argument)
        except Exception as error:
            self._fault(error)

    def stop(self) -> None:
        self._running = False


class Children:
    """Reaps every child, ours and those that fell to us as subreaper, and tells who watches.

    A child that somebody else will wait for is `reserve`d meanwhile. (While it is a zombie the others have to wait: the
    kernel shows only the first. It is for moments.)
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._watched: dict[int, Exited] = {}
        self._reserved: set[int] = set()
        self._wake, self._wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # The handler itself does nothing: the interpreter has written to the pipe by then.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.siginterrupt(signal.SIGCHLD, False)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        loop.add(self._wake, self._awake)

    def watch(self, pid: int, exited: Exited) -> None:
        """`exited` gets the wait status. To be called before the loop runs again after the fork."""
        self._watched[pid] = exited

    def forget(self, pid: int) -> None:
        self._watched.pop(pid, None)

    def reserve(self, pid: int) -> None:
        self._reserved.add(pid)

    def release(self, pid: int) -> None:
        """Exits that were held up are told on the next turn of the loop."""
        self._reserved.discard(pid)
        try:
            os.write(self._wake_end, b"\0")
        except BlockingIOError:  # full: the loop is going to look anyway
            pass

    def _awake(self, _: int) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            pass
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                if self._reserved and self._next_is_reserved():
                    return
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            exited = self._watched.pop(pid, None)
            if exited is not None:
                self._loop.call(exited, status)

    def _next_is_reserved(self) -> bool:
        result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return result is not None and result.si_pid in self._reserved
