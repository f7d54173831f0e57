"""The guest's end: runs what the host asks for. Standard library only, copied into the image as it is.

A TCP connection is one command. The host sends a JSON line {"argv": [...], "env": {...}, "stdin": true}, and then, if
it said so, the command's stdin until it shuts its side down. The guest sends frames, each a letter, a length (4 bytes,
big endian) and the data: o stdout, e stderr, x the exit status in decimal, which ends the connection.

A host that hangs up before the end takes the command with it, process group and all; with a stdin, when more is sent.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading

ENVIRONMENT = {
    "PATH": "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


def frame(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(4, "big") + data


def serve(connection: socket.socket) -> None:
    with connection:
        request = connection.makefile("rb", buffering=0)
        wanted = json.loads(request.readline())
        try:
            process = subprocess.Popen(
                wanted["argv"],
                cwd=wanted.get("cwd", "/root"),
                env=ENVIRONMENT | wanted.get("env", {}),
                stdin=subprocess.PIPE if wanted.get("stdin") else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            connection.sendall(frame(b"e", f"cannot run: {error}\n".encode()) + frame(b"x", b"127"))
            return
        try:
            relay(connection, process)
        except OSError:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def relay(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Raises OSError when the host is gone."""
    assert process.stdout
    assert process.stderr
    threading.Thread(target=feed, args=(connection, process), daemon=True).start()
    watched = selectors.DefaultSelector()
    ends = {process.stdout.fileno(): b"o", process.stderr.fileno(): b"e"}
    exited = os.pidfd_open(process.pid)
    for source in (*ends, exited):
        watched.register(source, selectors.EVENT_READ)
    status = None
    while True:
        ready = [key.fd for key, _ in watched.select(0.2 if status is not None else None)]
        for source in ready:
            if source == exited:
                status = process.wait()
                watched.unregister(exited)
                os.close(exited)
            else:
                data = os.read(source, 65536)
                if data:
                    connection.sendall(frame(ends[source], data))
                else:
                    watched.unregister(source)
        # Daemons that the command has left behind may hold its pipes: what is in them has been sent, that is enough.
        if status is not None and not any(source in ready for source in ends):
            connection.sendall(frame(b"x", str(status if status >= 0 else 128 - status).encode()))
            return


def feed(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Passes stdin on to its end, which without a stdin is the host's hanging up."""
    try:
        while data := connection.recv(65536):
            if process.stdin:
                process.stdin.write(data)
                process.stdin.flush()
    except OSError:
        pass  # the command reads no more, or the host is gone
    if process.stdin:
        try:
            process.stdin.close()
        except OSError:
            pass
    elif process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    listener = socket.create_server(("0.0.0.0", int(sys.argv[1]) if sys.argv[1:] else 9), backlog=64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
