"""The shim's event loop: epoll for descriptors, SIGCHLD for children. Owns neither.

It rests when there is nothing to do: what that means is for others to say.

A callback that raises is logged and the loop goes on: one container's trouble must not end its neighbours' shim.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from time import monotonic

#: Events handled between two looks at epoll; level-triggered, so what is left over comes first the next time.
_BATCH = 32
#: Exits kept for workers that have not told us yet whose they are.
_UNCLAIMED = 1024
#: Seconds from a stir to the rest after it, between two rests at least, and to one after the daily round.
_QUIET = 0.2
_BETWEEN = 2.0
_DAILY = 30.0

Ready = Callable[[int], None]
Exited = Callable[[int], None]


class Loop:
    def __init__(self, fault: Callable[[BaseException], None]) -> None:
        self._callbacks: dict[int, Ready] = {}
        self._fault = fault
        self._running = True
        self._rest: Callable[[], object] | None = None
        self._rest_at = 0.0
        self._rested_at = 0.0

    def rest_with(self, rest: Callable[[], object]) -> None:
        """To be called when there has been something to do, and then nothing for a while."""
        self._rest = rest

    def stir(self) -> None:
        """What is being done is more than the daily round."""
        self._rest_at = monotonic() + _QUIET

    def open(self) -> None:
        """In the process whose loop it is."""
        self.epoll = select.epoll()

    def close(self) -> None:
        self.epoll.close()
        self._callbacks.clear()

    def add(self, fd: int, callback: Ready, events: int = select.EPOLLIN) -> None:
        self.epoll.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        self.epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Before the descriptor is closed: a duplicate elsewhere would keep a closed one in the epoll set."""
        if self._callbacks.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def run(self) -> None:
        while self._running:
            if self._rest is None:
                self.turn(-1)
            elif not self._rest_at:
                self.turn(-1)
                self._rest_at = self._rest_at or monotonic() + _DAILY
            else:
                self._turn_or_rest(self._rest)

    def _turn_or_rest(self, rest: Callable[[], object]) -> None:
        now = monotonic()
        wait = max(self._rest_at, self._rested_at + _BETWEEN) - now
        if wait > 0:
            self.turn(wait)
            return
        rest()
        self._rest_at, self._rested_at = 0.0, now

    def turn(self, timeout: float) -> None:
        """Handle what is there, or comes within `timeout` seconds (-1: whenever)."""
        for fd, events in self.epoll.poll(timeout, _BATCH):
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
    """Reaps every child: ours, our workers', and those that fell to us as subreaper. Tells who watches.

    A process made by a worker may be over before we know whose it is; its status waits for `watch` then.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._watched: dict[int, Exited] = {}
        self._unclaimed: dict[int, int] = {}
        self._wake = self._wake_end = -1

    def open(self) -> None:
        """In the process whose children they are. The handler of SIGCHLD need do nothing: it wakes us by the pipe."""
        self._wake, self._wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        self._loop.add(self._wake, self._awake)

    def close(self) -> None:
        """Waits for the children that are left."""
        while self._watched:
            pid, _ = os.waitpid(-1, 0)
            self._watched.pop(pid, None)
        signal.set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self._wake_end)

    def watch(self, pid: int, exited: Exited) -> None:
        """`exited` gets the wait status: from the loop, or now."""
        status = self._unclaimed.pop(pid, None)
        if status is None:
            self._watched[pid] = exited
        else:
            exited(status)

    def forget_unclaimed(self) -> None:
        """No worker is at work: what nobody has claimed is nobody's, and its pid may come again."""
        self._unclaimed.clear()

    def _awake(self, _: int) -> None:
        try:
            os.read(self._wake, 64)
        except BlockingIOError:
            pass
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                exited = self._watched.pop(pid, None)
                if exited is not None:
                    self._loop.call(exited, status)
                else:
                    self._keep(pid, status)
        except ChildProcessError:
            return

    def _keep(self, pid: int, status: int) -> None:
        unclaimed = self._unclaimed
        unclaimed[pid] = status
        if len(unclaimed) > _UNCLAIMED:
            del unclaimed[next(iter(unclaimed))]
