"""A seccomp agent: takes listeners at a socket and lets every call it is told of fail with one errno."""

from __future__ import annotations

import array
import errno
import fcntl
import json
import select
import socket
import struct
import threading
from pathlib import Path
from typing import Any

# linux/seccomp.h
_RECEIVE = 0xC050_2100
_SEND = 0xC018_2101
ANSWER = errno.EDOM


class Agent:
    """`told` are the container process states that came, one for each listener."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def profile(self, *names: str) -> dict[str, Any]:
        return {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(self.path),
            "listenerMetadata": "some data",
            "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
        }

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                data, fds, _, _ = socket.recv_fds(peer, 65536, 2)
            self.told.append(json.loads(data))
            (listener,) = fds
            thread = threading.Thread(target=_serve, args=(listener,))
            thread.start()
            self._threads.append(thread)


def _serve(listener: int) -> None:
    """Until the last process with the filter is gone."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    with open(listener, "rb", 0):
        while poll.poll()[0][1] & select.POLLIN:
            call = array.array("B", bytes(80))
            try:
                fcntl.ioctl(listener, _RECEIVE, call)
                answer = struct.pack("=QqiI", struct.unpack_from("=Q", call)[0], 0, -ANSWER, 0)
                fcntl.ioctl(listener, _SEND, answer)
            except FileNotFoundError:
                continue  # the caller was killed meanwhile
