"""Sockets inside a pod's network namespace. A socket stays in the namespace in which it was made, whoever uses it then.

Only a thread can be in another namespace than its process, so a thread is started for it and thrown away: one that had
been in a pod must never serve the daemon again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading

from oci import syscalls

_ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def connect_localhost(network_fd: int | None, port: int) -> socket.socket:
    """A connection to `port` at localhost of a network namespace (None: our own), IPv4 first. Raises OSError."""
    refused: list[int] = []
    for family, address in _ADDRESSES:
        try:
            return await _connect(network_fd, family, address, port)
        except OSError as error:
            refused.append(error.errno or errno.EIO)
    reasons = "; ".join(
        f"{address}: {os.strerror(code)}" for (_, address), code in zip(_ADDRESSES, refused, strict=True)
    )
    raise OSError(refused[0], f"nothing accepts connections at port {port} of the pod's localhost ({reasons})")


async def _connect(network_fd: int | None, family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = _socket(family) if network_fd is None else _socket_in(network_fd, family)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


def _socket(family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _socket_in(network_fd: int, family: socket.AddressFamily) -> socket.socket:
    """Takes a tenth of a millisecond and blocks on nothing."""
    outcome: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            syscalls.setns(network_fd, syscalls.CLONE_NEWNET)
            outcome.append(_socket(family))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=enter, name="pod-socket")
    thread.start()
    thread.join()
    made = outcome[0]
    if isinstance(made, OSError):
        raise made
    return made
