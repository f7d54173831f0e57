"""The pod's namespaces: made by a process that lives in them for a moment, entered by those that fork containers.

That process is the shim itself, which goes back to where it was, unless the pod shares a pid namespace or has a user
namespace: those take processes of their own, and a worker makes them.

A pod with a user namespace has the others made inside it, by a child of the worker. Nobody but that child and the
containers' own processes enters the user namespace: a worker keeps the host's privileges, which it has over it too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Final

from oci import netns, syscalls
from oci.plan.sysctls import check_sysctls, sysctl_path
from oci.protocol.messages import SandboxNamespaces, SandboxSetup
from oci.shim.work import pod_init, user_namespace
from oci.shim.workers import Outcome

#: Property of SandboxSetup, file below /proc/PID/ns, clone flag.
_KINDS: Final = (
    ("network", "net", syscalls.CLONE_NEWNET),
    ("ipc", "ipc", syscalls.CLONE_NEWIPC),
    ("uts", "uts", syscalls.CLONE_NEWUTS),
)


def make(setup: SandboxSetup, directory: str) -> Outcome:
    """Nothing outlives a failure but what CNI or the daemon made: the namespaces go with the worker."""
    wanted = [(file, flag) for name, file, flag in _KINDS if getattr(setup, name)]
    _check(setup)
    if setup.uid_mappings or setup.gid_mappings:
        mappings = setup.uid_mappings, setup.gid_mappings
        with user_namespace.made(*mappings, lambda: _unshare(setup, wanted)) as (holder, init_pid):
            fds = _open_all([*wanted, ("user", 0)], holder, init_pid)
    else:
        init_pid = _unshare(setup, wanted)
        fds = _open_all(wanted, os.getpid(), init_pid)
    try:
        if setup.network and setup.netns_path is not None:
            netns.bind(setup.netns_path, f"/proc/self/fd/{fds['net_fd']}")
    except BaseException:
        if init_pid is not None:
            signal.pidfd_send_signal(fds["init_pidfd"], signal.SIGKILL)
        raise
    return Outcome(answer=SandboxNamespaces(init_pid=init_pid, **fds), record=(init_pid,), fds=fds)


def takes_processes(setup: SandboxSetup) -> bool:
    return setup.shared_pid or bool(setup.uid_mappings or setup.gid_mappings)


def make_here(setup: SandboxSetup) -> SandboxNamespaces:
    """The caller's descriptors. A process that cannot go back to where it was ends."""
    wanted = [(file, flag) for name, file, flag in _KINDS if getattr(setup, name)]
    _check(setup)
    homes = [(os.open(f"/proc/self/ns/{file}", os.O_RDONLY | os.O_CLOEXEC), flag) for file, flag in wanted]
    try:
        _unshare(setup, wanted)
        fds = _open_all(wanted, os.getpid(), None)
    finally:
        try:
            for home, flag in homes:
                syscalls.setns(home, flag)
                os.close(home)
        except OSError:
            os._exit(1)
    try:
        if setup.network and setup.netns_path is not None:
            netns.bind(setup.netns_path, f"/proc/self/fd/{fds['net_fd']}")
    except BaseException:
        for fd in fds.values():
            os.close(fd)
        raise
    return SandboxNamespaces(**fds)


def _check(setup: SandboxSetup) -> None:
    check_sysctls(setup.sysctls, frozenset(name for name, _, _ in _KINDS if getattr(setup, name)), "sysctls")


def enter(namespaces: SandboxNamespaces) -> None:
    """So that what is forked from here on is born in the pod's net, ipc and uts namespaces."""
    for fd, kind in (
        (namespaces.net_fd, syscalls.CLONE_NEWNET),
        (namespaces.ipc_fd, syscalls.CLONE_NEWIPC),
        (namespaces.uts_fd, syscalls.CLONE_NEWUTS),
    ):
        if fd is not None:
            syscalls.setns(fd, kind)


def _unshare(setup: SandboxSetup, wanted: list[tuple[str, int]]) -> int | None:
    """This process is in the new namespaces afterwards. The pid of the pod's init, if it gets one."""
    if wanted:
        syscalls.unshare(sum(flag for _, flag in wanted))
    if setup.uts:
        _name(setup)
    _write_sysctls(setup.sysctls)
    return pod_init.fork(setup.mount_label) if setup.shared_pid else None


def _open_all(wanted: list[tuple[str, int]], pid: int, init_pid: int | None) -> dict[str, int]:
    """Name of the descriptor in `SandboxNamespaces` -> the descriptor, of the namespaces that `pid` lives in."""
    fds = {f"{file}_fd": _open(f"/proc/{pid}/ns/{file}") for file, _ in wanted}
    if init_pid is not None:
        fds["init_pidfd"] = os.pidfd_open(init_pid)
        fds["pid_fd"] = _open(f"/proc/{init_pid}/ns/pid")
    return fds


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
