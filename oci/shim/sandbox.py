"""The pod's namespaces. The shim itself lives in them, so every container it forks is born there.

    make       unshare, name, sysctls, and the shared pid namespace's init
    adopt      enter the namespaces of a pod whose shim died
    end        the init's death ends what shares its pid namespace; the rest goes when the last holder goes

A pod with a user namespace needs the others made inside it, by a child that the shim then follows with setns: that
belongs into `_make_namespaces`, nothing else here would change.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

from oci import netns, syscalls
from oci.errors import StateError, Unsupported
from oci.plan.sysctls import check_sysctls, sysctl_path
from oci.protocol.messages import AdoptSandbox, InitExited, SandboxNamespaces, SandboxSetup
from oci.shim import foreign, pod_init
from oci.shim.loop import Children, Loop

_KINDS: Final = (
    ("network", "net", syscalls.CLONE_NEWNET),
    ("ipc", "ipc", syscalls.CLONE_NEWIPC),
    ("uts", "uts", syscalls.CLONE_NEWUTS),
)


class Sandbox:
    def __init__(
        self, sandbox_id: str, directory: str, loop: Loop, children: Children, tell: Callable[[InitExited], None]
    ) -> None:
        self.sandbox_id = sandbox_id
        self.directory = directory
        self.namespaces = SandboxNamespaces()
        self._loop = loop
        self._children = children
        self._tell = tell

    def make(self, setup: SandboxSetup) -> SandboxNamespaces:
        """The descriptors in the answer stay the shim's. A failure leaves this process spoiled: the daemon ends it."""
        if self.namespaces != SandboxNamespaces():
            raise StateError(self.sandbox_id, "has its namespaces already")
        check_sysctls(setup.sysctls, _owned(setup), "sysctls")
        fds = _make_namespaces(setup)
        if setup.netns_path is not None and setup.network:
            netns.bind(setup.netns_path)
        if setup.uts:
            _name(setup)
        _write_sysctls(setup.sysctls)
        pid, pidfd, pid_fd = self._make_init() if setup.shared_pid else (None, None, None)
        self.namespaces = SandboxNamespaces(
            net_fd=fds.get("net"),
            ipc_fd=fds.get("ipc"),
            uts_fd=fds.get("uts"),
            pid_fd=pid_fd,
            init_pidfd=pidfd,
            init_pid=pid,
        )
        return self.namespaces

    def adopt(self, kept: AdoptSandbox) -> SandboxNamespaces:
        if self.namespaces != SandboxNamespaces():
            raise StateError(self.sandbox_id, "has its namespaces already")
        for fd, kind in (
            (kept.user_fd, syscalls.CLONE_NEWUSER),
            (kept.net_fd, syscalls.CLONE_NEWNET),
            (kept.ipc_fd, syscalls.CLONE_NEWIPC),
            (kept.uts_fd, syscalls.CLONE_NEWUTS),
        ):
            if fd is not None:
                syscalls.setns(fd, kind)
        self.namespaces = SandboxNamespaces(
            net_fd=_keep(kept.net_fd),
            ipc_fd=_keep(kept.ipc_fd),
            uts_fd=_keep(kept.uts_fd),
            user_fd=_keep(kept.user_fd),
            pid_fd=_keep(kept.pid_fd),
            init_pidfd=_keep(kept.init_pidfd),
            init_pid=kept.init_pid,
        )
        if self.namespaces.init_pidfd is not None:
            foreign.watch(self._loop, self.namespaces.init_pidfd, self._init_exited)
        return self.namespaces

    def end(self) -> None:
        """Kills the init, if there is one."""
        if self.namespaces.init_pidfd is not None:
            try:
                signal.pidfd_send_signal(self.namespaces.init_pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _make_init(self) -> tuple[int, int, int]:
        pid, pidfd = pod_init.fork(self.directory)
        self._children.watch(pid, self._init_exited)
        return pid, pidfd, _open_namespace(f"/proc/{pid}/ns/pid")

    def _init_exited(self, status: int) -> None:
        self._tell(InitExited(pid=self.namespaces.init_pid or 0, status=status))


def _owned(setup: SandboxSetup) -> frozenset[str]:
    return frozenset(name for name, _, _ in _KINDS if getattr(setup, name))


def _make_namespaces(setup: SandboxSetup) -> dict[str, int]:
    """Namespace file name -> descriptor, for those the pod owns; this process is in them afterwards."""
    if setup.uid_mappings or setup.gid_mappings:
        raise Unsupported("a user namespace for the whole pod", "this version makes none")
    wanted = [(file, flag) for name, file, flag in _KINDS if getattr(setup, name)]
    if wanted:
        syscalls.unshare(sum(flag for _, flag in wanted))
    return {file: _open_namespace(f"/proc/self/ns/{file}") for file, _ in wanted}


def _open_namespace(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _keep(fd: int | None) -> int | None:
    return None if fd is None else os.dup(fd)


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
