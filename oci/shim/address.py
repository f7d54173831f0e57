"""Where a shim listens: `shim.sock` in its directory. Both ends of it; also used by the daemon.

The name is reached through the directory's descriptor: a socket address holds 107 bytes, the directory may be longer.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SOCKET_NAME: Final = "shim.sock"
BACKLOG: Final = 8


def listen(directory: str) -> socket.socket:
    """Mode 0600. A dead socket that lies there is replaced, a living one is an error (EADDRINUSE)."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _address(directory) as path:
            _clear(path, directory)
            sock.bind(path)
            os.chmod(path, 0o600)  # nobody can have connected: it does not listen yet
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(directory: str) -> socket.socket:
    """FileNotFoundError and ConnectionRefusedError where no shim is, BlockingIOError where one does not take calls."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.setblocking(False)
    try:
        with _address(directory) as path:
            sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _address(directory: str) -> Iterator[str]:
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{parent}/{SOCKET_NAME}"
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{directory}/{SOCKET_NAME}") from None
    finally:
        os.close(parent)


def _clear(path: str, directory: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            pass  # it has enough to do
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, "a shim listens there already", f"{directory}/{SOCKET_NAME}")
