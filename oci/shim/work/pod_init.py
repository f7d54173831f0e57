"""Pid 1 of a pod's shared pid namespace: reaps what its containers orphan, and lives until the pod ends.

Containers of the pod see it, so there must be nothing to take from it: an empty read-only root of its own, no
descriptors, not dumpable (so that /proc/1/root, fd and mem stay closed even to a container with our user id). The
kernel drops every signal to it that it has no handler for, SIGKILL from outside excepted.
"""

from __future__ import annotations

import os
import signal

from oci import mounts, syscalls

_NAME = "coracle-init"
_ATTRIBUTES = (
    syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOEXEC | syscalls.MOUNT_ATTR_RDONLY
)


def fork(label: str = "") -> int:
    """The pid of a new init, in a new pid namespace: a child of the caller. `label` is the SELinux label of its root.
    Raises OSError when it could not arrange itself."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid, pidfd = syscalls.clone3(syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS)
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if pid == 0:
        _main(writer, label)
    os.close(writer)
    os.close(pidfd)
    try:
        answer = os.read(reader, 4096)
    finally:
        os.close(reader)
    if answer != b"ok":
        os.waitpid(pid, 0)
        number, _, message = answer.decode(errors="replace").partition(" ")
        raise OSError(int(number or 0), message or "the pod's init died before it was ready")
    return pid


def _main(writer: int, label: str) -> None:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        syscalls.set_process_name(_NAME)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        os.dup2(writer, 3)
        syscalls.close_range(4)
        _enter_empty_root(label)
        os.write(3, b"ok")
        for fd in range(4):
            os.close(fd)
    except OSError as error:
        os.write(3, f"{error.errno or 0} {error.strerror}: {error.filename or ''}".encode())
        os._exit(1)
    except BaseException:
        os._exit(1)
    while True:
        _reap()
        signal.sigwait({signal.SIGCHLD})


def _enter_empty_root(label: str) -> None:
    """By descriptors: in a user namespace we may not even search the directories of the host's root."""
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    host = os.open("/", os.O_PATH | os.O_DIRECTORY)
    options = ("nr_inodes=1", "mode=0555", *([f"context={label}"] if label else ()))
    empty = mounts.make_filesystem("tmpfs", "none", options, attributes=_ATTRIBUTES)
    syscalls.move_mount(empty, host)
    os.fchdir(empty)
    syscalls.pivot_root(".", ".")
    os.fchdir(host)
    syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")
    os.close(host)
    os.close(empty)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
