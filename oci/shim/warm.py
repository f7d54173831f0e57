"""Runs through parts of a shim's life in the launcher, before that is frozen, so that the forks find them warm.

The interpreter rewrites a function's code while it gets to know it (PEP 659), fills caches of attributes, grows its
pools: all of that would otherwise be done in every shim anew, in pages of its own, and slowly. Some rounds of what
workers do, and then of a shim's own life, with a pod that is not there, settle it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any, Final, NoReturn

from oci import mounts, syscalls
from oci.engine import CreateRequest, ExecRequest, Launch, Stdio
from oci.handshake.channel import ChildChannel, Kind, pair
from oci.protocol import messages, packet, transport
from oci.protocol.forking import ForkShim
from oci.shim.address import listen
from oci.shim.engine import Executor
from oci.shim.gather import gather, watch
from oci.shim.shim import Shim
from oci.shim.sockets import Socket
from oci.spec import Process, Spec

# A function's code is rewritten after eight calls, and what that found is settled some calls later.
_ROUNDS: Final = 24
_LIVES: Final = 12
#: Seconds after which a process that nobody ended ends.
_PATIENCE: Final = 5
_ID: Final = "0" * 64
_CAPABILITIES: Final = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"]
_CONFIG: Final[dict[str, Any]] = {
    "ociVersion": "1.3.0",
    "process": {
        "cwd": "/",
        "args": ["true"],
        "env": ["PATH=/usr/bin:/bin", "HOSTNAME=warm"],
        "user": {"uid": 0, "gid": 0, "additionalGids": [10]},
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
        "oomScoreAdj": 0,
    },
    "root": {"path": "/nonexistent", "readonly": True},
    "mounts": [
        {
            "destination": destination,
            "type": kind,
            "source": kind if kind != "bind" else "/nonexistent",
            "options": options,
        }
        for destination, kind, options in (
            ("/proc", "proc", ["nosuid", "noexec", "nodev"]),
            ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            ("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
            ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
            ("/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
            ("/dev/shm", "bind", ["rbind", "rw", "nosuid", "noexec", "nodev"]),
            ("/etc/hosts", "bind", ["rbind", "rprivate", "rw"]),
            ("/config", "bind", ["rbind", "rprivate", "ro"]),
        )
    ],
    "linux": {
        "namespaces": [{"type": "mount"}, {"type": "pid"}],
        "resources": {
            "memory": {"limit": 1 << 30},
            "cpu": {"shares": 2, "quota": 1000, "period": 100000},
            "devices": [{"allow": False, "access": "rwm"}],
        },
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
    },
}


def warm(executor: Executor) -> None:
    """Leaves nothing behind: no process, no descriptor, no file. The caller sets its wakeup descriptor after it."""
    for _ in range(_ROUNDS):
        _plan(executor)
        _messages()
    _rehearse()


def _plan(executor: Executor) -> None:
    """What a worker does before it forks."""
    spec = Spec.from_json(_CONFIG)
    stdio = Stdio(stdin=0, stdout=1, stderr=2)
    executor.engine.plan(CreateRequest(container_id=_ID, spec=spec, bundle="/nonexistent", stdio=stdio))


def _messages() -> None:
    """What a worker reads and writes."""
    process = Process.from_json(_CONFIG["process"])
    for message in (
        messages.ContainerCreate(container_id=_ID, bundle="/b", log_path="/l", cgroup_path="/c", rootfs_fd=0),
        messages.ContainerHandles(pid=1, pidfd=0, stdout_fd=1, stderr_fd=2),
        messages.ExecStart(container_id=_ID, exec_id=_ID, process=process, stdout_fd=1, stderr_fd=2),
        messages.ExecStarted(pid=1, pidfd=0),
        messages.ContainerExited(container_id=_ID, pid=1, status=0, finished_at=1),
    ):
        packet.unpack(*packet.pack(1, message))
    packet.exec_exited_template(_ID, _ID, 1)


class _Rehearsed:
    """An engine whose processes do nothing but what a shim sees of them."""

    def launch_container(self, request: CreateRequest) -> Launch:
        parent, child = pair()
        pid, pidfd = syscalls.clone3(0)
        if pid == 0:
            parent.close()
            _act(ChildChannel(child), request.stdio)
        child.close()
        return Launch(pid=pid, pidfd=pidfd, channel=parent)

    def become_container(self, request: CreateRequest, own: ChildChannel, parent: Socket) -> NoReturn:
        parent.close()
        _act(own, request.stdio)

    def become_process(self, request: ExecRequest, child: socket.socket, parent: socket.socket) -> NoReturn:
        try:
            child.close()
        finally:
            os._exit(0)


def _act(channel: ChildChannel, stdio: Stdio | None) -> NoReturn:
    try:
        channel.tell(Kind.READY)
        channel.wait(Kind.START)
        channel.socket.close()
        if stdio is not None:
            os.write(stdio.stdout, b"one line\nanother\n")
            os.write(stdio.stderr, b"and more\n")
        signal.sigtimedwait((), _PATIENCE)
    finally:
        os._exit(0)


def _rehearse() -> None:
    directory_fd = mounts.make_filesystem("tmpfs", "none", ("size=1m", "mode=0700"), attributes=0)
    directory = f"/proc/{os.getpid()}/fd/{directory_fd}"
    with open(f"{directory}/config.json", "w") as file:
        file.write(json.dumps(_CONFIG))
    gather(watch(lambda: _live(directory)))
    for _ in range(_LIVES):
        _live(directory)
    os.close(directory_fd)


def _live(directory: str) -> None:
    """A shim's life from its first request to its last, in this process, with a fork of it for a daemon."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener = listen(directory)
    pid = os.fork()
    if pid == 0:
        theirs.close()
        try:
            _Daemon(ours, directory).play()
        finally:
            os._exit(0)
    ours.close()
    shim = Shim(_Rehearsed(), None)
    shim.stop_with(pid)
    shim.run(ForkShim(sandbox_id=_ID, directory=directory), listener.fileno(), Socket(fileno=theirs.detach()))
    shim.end_rehearsal()
    listener.close()
    theirs.close()


class _Daemon:
    """What a daemon asks of a shim whose pod has one container."""

    def __init__(self, sock: socket.socket, directory: str) -> None:
        self._socket = sock
        self._directory = directory
        self._last = 0
        self._heard: set[type | None] = set()

    def play(self) -> None:
        self._ask(messages.SandboxSetup(network=False, ipc=False))
        log = f"{self._directory}/log"
        self._ask(messages.ContainerCreate(container_id=_ID, bundle=self._directory, log_path=log, new_pid=True))
        self._ask(messages.Start(container_id=_ID))
        process = Process.from_json(_CONFIG["process"])
        null = os.open(os.devnull, os.O_RDWR)
        self._ask(messages.ExecStart(container_id=_ID, exec_id="e", process=process, stdout_fd=null, stderr_fd=null))
        self._await(messages.ExecExited)
        self._ask(messages.Kill(container_id=_ID, signal=signal.SIGKILL))
        self._await(messages.ContainerExited)
        self._ask(messages.Delete(container_id=_ID))
        self._ask(messages.Shutdown())

    def _ask(self, message: Any) -> None:
        self._last += 1
        transport.send(self._socket, transport.prepare(self._last, message))
        self._await(None)

    def _await(self, event: type | None) -> None:
        """An event may come before the answer to what led to it: what ends at once has ended by then."""
        while event not in self._heard:
            received = transport.receive(self._socket)
            if received is None:
                raise ConnectionError
            if received.id == self._last:
                if event is None:
                    return
            else:
                self._heard.add(type(received.message))
