"""The host's end of `agent`: one connection for each command."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import BinaryIO


class GuestGone(Exception):
    """Nobody answers, or the answer breaks off: a guest that boots, or that was reset."""


class CommandTimeout(Exception):
    """The command took longer than it was given; it is killed."""


def run(
    port: int,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str = "/root",
    stdin: bytes | None = None,
    timeout: float | None = None,
    show: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """`show` copies the output to ours while it comes. Raises GuestGone, CommandTimeout."""
    deadline = None if timeout is None else time.monotonic() + timeout
    kept = {b"o": bytearray(), b"e": bytearray()}
    shown: dict[bytes, BinaryIO] = {b"o": sys.stdout.buffer, b"e": sys.stderr.buffer}
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.settimeout(None)  # a limit would be the sender's as well
            request = {"argv": list(argv), "env": dict(env or {}), "cwd": cwd, "stdin": stdin is not None}
            connection.sendall(json.dumps(request).encode() + b"\n")
            if stdin is not None:
                # Beside reading: a command that answers while it reads would wait for us, and we for it.
                threading.Thread(target=_send, args=(connection, stdin), daemon=True).start()
            while True:
                kind, data = _frame(connection, deadline)
                if kind == b"x":
                    return subprocess.CompletedProcess(argv, int(data), bytes(kept[b"o"]), bytes(kept[b"e"]))
                kept[kind] += data
                if show:
                    shown[kind].write(data)
                    shown[kind].flush()
    except TimeoutError:
        raise CommandTimeout(f"{argv[0]}: no end after {timeout or 10:.0f} s: {_tail(kept)}") from None
    except OSError as error:
        raise GuestGone(f"{argv[0]}: {error}") from error


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the command has ended without wanting it all; a guest that is gone is told of by the reader


def _frame(connection: socket.socket, deadline: float | None) -> tuple[bytes, bytes]:
    head = _exactly(connection, 5, deadline)
    return head[:1], _exactly(connection, int.from_bytes(head[1:], "big"), deadline)


def _exactly(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        if not select.select([connection], [], [], left)[0]:
            raise TimeoutError
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the guest hung up")
        data += part
    return bytes(data)


def _tail(kept: Mapping[bytes, bytearray]) -> str:
    return (kept[b"o"] + kept[b"e"])[-2000:].decode("utf-8", "replace")
