"""Runs through parts of a shim's life in the launcher, before that is frozen, so that the forks find them warm.

The interpreter rewrites a function's code while it gets to know it (PEP 659), fills caches of attributes, grows its
pools: all of that would otherwise be done in every shim anew, in pages of its own, and slowly. Some rounds of what a
shim and its workers do, with a pod that is not there, settle it.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any, Final

from oci.engine import CreateRequest, Stdio
from oci.protocol import messages, packet, transport
from oci.shim.container import Output
from oci.shim.engine import Executor
from oci.shim.shim import Shim
from oci.spec import Process, Spec

# A function's code is rewritten after eight calls, and what that found is settled some calls later.
_ROUNDS: Final = 24
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
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/etc/hosts", "type": "bind", "source": "/nonexistent", "options": ["rbind", "rprivate", "ro"]},
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
        _live(executor)


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


def _live(executor: Executor) -> None:
    """What the shim itself does: a request is served by a worker, output is logged."""
    shim = Shim(executor, None)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with ours, theirs:
        loop = shim.rehearse(theirs)
        output = Output(loop, os.memfd_create("log", os.MFD_CLOEXEC))
        os.set_blocking(reader, False)
        output.add("stdout", reader)
        for lines in (b"one line\nanother\n", b"and more\n"):
            os.write(writer, lines)
            loop.turn(1.0)
        os.close(writer)
        loop.turn(1.0)
        output.close()
        transport.send(ours, transport.prepare(1, messages.Hello()))
        ours.setblocking(False)
        while True:
            loop.turn(1.0)
            try:
                transport.receive(ours)
                break
            except BlockingIOError:
                continue
        signal.set_wakeup_fd(-1)
        shim.end_rehearsal()
