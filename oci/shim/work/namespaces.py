"""The pod's namespaces: made by a worker that lives in them for a moment, entered by those that fork containers.

A pod with a user namespace needs the others made inside it, by a child of the worker: that belongs into `_unshare`,
and `enter` gets one more descriptor; nothing else would change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from oci import netns, syscalls
from oci.errors import Unsupported
from oci.plan.sysctls import check_sysctls, sysctl_path
from oci.protocol.messages import SandboxNamespaces, SandboxSetup
from oci.shim.work import pod_init
from oci.shim.workers import Outcome

#: Property of SandboxSetup, file below /proc/PID/ns, clone flag.
_KINDS: Final = (
    ("network", "net", syscalls.CLONE_NEWNET),
    ("ipc", "ipc", syscalls.CLONE_NEWIPC),
    ("uts", "uts", syscalls.CLONE_NEWUTS),
)


def make(setup: SandboxSetup, directory: str) -> Outcome:
    """Nothing outlives a failure but what CNI or the daemon made: the namespaces go with the worker."""
    if setup.uid_mappings or setup.gid_mappings:
        raise Unsupported("a user namespace for the whole pod", "this version makes none")
    wanted = [(name, file, flag) for name, file, flag in _KINDS if getattr(setup, name)]
    check_sysctls(setup.sysctls, frozenset(name for name, _, _ in wanted), "sysctls")
    fds = _unshare(wanted)
    bound = setup.netns_path if setup.network else None
    if bound is not None:
        netns.bind(bound)
    try:
        if setup.uts:
            _name(setup)
        _write_sysctls(setup.sysctls)
        init_pid = None
        if setup.shared_pid:
            init_pid, fds["init_pidfd"] = pod_init.fork(directory)
            fds["pid_fd"] = _open(f"/proc/{init_pid}/ns/pid")
    except BaseException:
        if bound is not None:
            netns.remove(bound)
        raise
    return Outcome(answer=SandboxNamespaces(init_pid=init_pid, **fds), record=(init_pid,), fds=fds)


def enter(namespaces: SandboxNamespaces) -> None:
    """So that what is forked from here on is born in the pod's net, ipc and uts namespaces."""
    for fd, kind in (
        (namespaces.net_fd, syscalls.CLONE_NEWNET),
        (namespaces.ipc_fd, syscalls.CLONE_NEWIPC),
        (namespaces.uts_fd, syscalls.CLONE_NEWUTS),
    ):
        if fd is not None:
            syscalls.setns(fd, kind)


def _unshare(wanted: list[tuple[str, str, int]]) -> dict[str, int]:
    """Name of the descriptor in `SandboxNamespaces` -> the descriptor; this process is in them afterwards."""
    if wanted:
        syscalls.unshare(sum(flag for _, _, flag in wanted))
    return {f"{file}_fd": _open(f"/proc/self/ns/{file}") for _, file, _ in wanted}


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _name(setup: SandboxSetup) -> None:
    if setup.hostname is not None:
        syscalls.sethostname(setup.hostname)
    if setup.domainname is not None:
        syscalls.setdomainname(setup.domainname)


def _write_sysctls(sysctls: Mapping[str, str]) -> None:
    # Plain paths: this process is in the host's mount namespace, where nobody but root arranges /proc.
    for name, value in sysctls.items():
        fd = os.open(f"/proc/sys/{sysctl_path(name)}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"sysctl {name} = {value!r}") from None
        finally:
            os.close(fd)
