"""Namespaces seen from the parent: those a config joins, and those a running container has."""

from __future__ import annotations

import errno
import fcntl
import os

from oci import syscalls as sc
from oci.errors import ContainerError, SpecError
from oci.exits import ExitStack
from oci.plan.namespaces import CLONE_FLAGS
from oci.plan.operations import Plan
from oci.plan.sysctls import check_sysctls
from oci.spec import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

_NS_GET_NSTYPE: Final = 0xB703
_FILES: Final = {
    "mount": "mnt",
    "pid": "pid",
    "ipc": "ipc",
    "uts": "uts",
    "network": "net",
    "cgroup": "cgroup",
    "user": "user",
    "time": "time",
}


def open_namespaces(proc: int, plan: Plan, spec: Spec, opened: ExitStack) -> Mapping[str, int]:
    """Path -> descriptor of each namespace the config joins; each must be of the type it claims."""
    descriptors = {}
    for kind, path in plan.namespace_paths:
        field = f"linux.namespaces[{[entry.type for entry in spec.linux.namespaces].index(kind)}].path"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            opened.callback(os.close, fd)
            actual = fcntl.ioctl(fd, _NS_GET_NSTYPE)
        except OSError as error:
            reason = "is not a namespace" if error.errno == errno.ENOTTY else os.strerror(error.errno or 0).lower()
            raise SpecError(field, f"{path}: {reason}")
        if actual != CLONE_FLAGS[kind]:
            raise SpecError(field, f"{path} is not a {kind} namespace")
        descriptors[path] = fd
        _refuse_host_sysctls(proc, kind, fd, spec)
    return descriptors


def join_mask(proc: int, pid: int) -> int:
    """CLONE_NEW bits of the namespaces of `pid` that are not ours; to join our own user namespace is an error."""
    mask = 0
    try:
        for kind, file in _FILES.items():
            theirs = os.stat(f"{pid}/ns/{file}", dir_fd=proc).st_ino
            if theirs != os.stat(f"self/ns/{file}", dir_fd=proc).st_ino:
                mask |= CLONE_FLAGS[kind]
    except FileNotFoundError:
        raise ContainerError("exec: join the container", errno.ESRCH, f"process {pid} is gone")
    return mask


class children_born_in:
    """Children cloned inside live in the pid namespace of `fd` (a namespace file or a pidfd); None changes nothing.

    Nobody can change its own pid namespace, only that of its children: so the parent does, and needs no second fork.
    """

    __slots__ = ("_fd", "_own", "_proc")

    def __init__(self, proc: int, fd: int | None) -> None:
        self._proc, self._fd, self._own = proc, fd, -1

    def __enter__(self) -> None:
        if self._fd is None:
            return
        try:
            self._own = os.open("self/ns/pid_for_children", os.O_RDONLY, dir_fd=self._proc)
        except FileNotFoundError:
            self._own = os.open("self/ns/pid", os.O_RDONLY, dir_fd=self._proc)
        try:
            sc.setns(self._fd, sc.CLONE_NEWPID)
        except OSError:
            os.close(self._own)
            raise

    def __exit__(self, *error: object) -> None:
        if self._fd is None:
            return
        try:
            sc.setns(self._own, sc.CLONE_NEWPID)
        finally:
            os.close(self._own)


def _refuse_host_sysctls(proc: int, kind: str, fd: int, spec: Spec) -> None:
    """A joined namespace may be our own, which the planner could not know; its sysctls are the host's."""
    if spec.linux.sysctl and os.fstat(fd).st_ino == os.stat(f"self/ns/{_FILES[kind]}", dir_fd=proc).st_ino:
        check_sysctls(spec.linux.sysctl, frozenset(entry.type for entry in spec.linux.namespaces) - {kind})
