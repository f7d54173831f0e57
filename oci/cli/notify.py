"""sd_notify(3) across the container's border: NOTIFY_SOCKET of our caller, offered inside by a directory with a socket.

The caller's own socket is not mounted: what a container may say to the service manager is that it is ready and how it
fares, not which process is the service's. A relay process passes on what it says, as long as the container lives.

    <state directory>/notify/        mounted at $NOTIFY_SOCKET inside
        notify                       where the container's processes send to
"""

from __future__ import annotations

import os
import select

from oci import sockets
from oci.spec import Mount, Spec
from oci.values import replace

_PASSED_ON = (b"READY=", b"STATUS=", b"ERRNO=", b"STOPPING=", b"RELOADING=", b"WATCHDOG=", b"EXTEND_TIMEOUT_USEC=")
_LIMIT = 65536


def wanted() -> str:
    """Path of the caller's socket; empty without one, or for one without a path."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    return path if path.startswith("/") else ""


def offer(spec: Spec, state_directory: str) -> Spec:
    """The config with the directory mounted and named to the process."""
    path = wanted()
    if not path or spec.process is None:
        return spec
    directory = f"{state_directory}/notify"
    os.mkdir(directory, 0o755)
    mount = Mount(destination=path, type="bind", source=directory, options=("bind", "nosuid", "noexec", "nodev"))
    env = (
        *(entry for entry in spec.process.env if not entry.startswith("NOTIFY_SOCKET=")),
        f"NOTIFY_SOCKET={path}/notify",
    )
    return replace(spec, mounts=(*spec.mounts, mount), process=replace(spec.process, env=env))


def relay(state_directory: str, pid: int, pidfd: int) -> None:
    """Start the relay of a container that was offered the directory; to be called before its process is started."""
    directory = f"{state_directory}/notify"
    if not wanted() or not os.path.isdir(directory):
        return
    inside = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_DGRAM)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    inside.bind(f"/proc/self/fd/{fd}/notify")
    os.chmod(f"/proc/self/fd/{fd}/notify", 0o777)
    os.close(fd)
    if os.fork():
        inside.close()
        return
    try:
        _detach()
        _pass_on(inside, pid, pidfd)
    finally:
        os._exit(0)


def _detach() -> None:
    """Whoever waits for our caller's pipes to close must not wait for the relay."""
    os.setsid()
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)


def _pass_on(inside: sockets.Socket, pid: int, pidfd: int) -> None:
    manager = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_DGRAM)
    poll = select.poll()
    for fd in (inside.fileno(), pidfd):
        poll.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if inside.fileno() in ready:
            lines = inside.recv(_LIMIT).split(b"\n")
            kept = [line for line in lines if line.startswith(_PASSED_ON)]
            if b"READY=1" in kept:
                kept.append(b"MAINPID=%d" % pid)
            if kept:
                try:
                    manager.sendto(b"\n".join(kept), wanted())
                except OSError:
                    return  # the service manager is gone
        elif pidfd in ready:
            return
