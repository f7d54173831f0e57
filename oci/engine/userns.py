"""User namespaces seen from outside: writing a child's id mappings, and namespaces that exist only to hold mappings."""

from __future__ import annotations

import errno
import os

from oci import syscalls as sc
from oci.errors import ContainerError, Unsupported
from oci.init.context import Mappings
from oci.signals import signal
from oci.spec import IdMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def write_mappings(proc: int, pid: int, uids: Sequence[IdMapping], gids: Sequence[IdMapping]) -> None:
    """Without privileges: our own ids alone by ourselves, more by newuidmap(1) and newgidmap(1), which look up what
    /etc/subuid and /etc/subgid allow."""
    own = not os.geteuid()
    for name, mappings, mine in (("uid_map", uids, os.geteuid()), ("gid_map", gids, os.getegid())):
        if own or (len(mappings) == 1 and mappings[0].size == 1 and mappings[0].host_id == mine):
            if not own and name == "gid_map":
                # Who may give up groups could get at files that are closed to them (user_namespaces(7)).
                _write(proc, pid, "setgroups", "deny")
            text = "".join(f"{entry.container_id} {entry.host_id} {entry.size}\n" for entry in mappings)
            _write(proc, pid, name, text)
        else:
            _write_by_program(f"new{name.replace('_', '')}", pid, mappings)


def _write(proc: int, pid: int, name: str, text: str) -> None:
    fd = os.open(f"{pid}/{name}", os.O_WRONLY, dir_fd=proc)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"write {name} {text.strip()!r}: {os.strerror(error.errno or 0)}")
    finally:
        os.close(fd)


def _write_by_program(name: str, pid: int, mappings: Sequence[IdMapping]) -> None:
    program = next((path for path in (f"/usr/bin/{name}", f"/bin/{name}") if os.access(path, os.X_OK)), None)
    if program is None:
        raise Unsupported("mapping more than the caller's own id", f"{name} is not installed (package uidmap)")
    numbers = [str(number) for entry in mappings for number in (entry.container_id, entry.host_id, entry.size)]
    made = os.posix_spawn(program, [program, str(pid), *numbers], {})
    if os.waitpid(made, 0)[1]:
        file = "/etc/subuid" if name == "newuidmap" else "/etc/subgid"
        raise ContainerError("map ids", errno.EPERM, f"{name} refused {' '.join(numbers)}; {file} says what is allowed")


class IdmapNamespaces:
    """User namespaces for idmapped mounts, one per set of mappings, kept as long as this process lives."""

    def __init__(self, proc: int) -> None:
        self._proc = proc
        self._known: dict[Mappings, int] = {}

    def get(self, mappings: Mappings) -> int:
        fd = self._known.get(mappings)
        if fd is None:
            fd = self._known[mappings] = self._make(mappings)
        return fd

    def close(self) -> None:
        while self._known:
            os.close(self._known.popitem()[1])

    def _make(self, mappings: Mappings) -> int:
        """A process lives in the namespace just long enough to be given mappings; the descriptor keeps it."""
        reader, writer = os.pipe()
        pid, pidfd = sc.clone3(sc.CLONE_NEWUSER)
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        try:
            write_mappings(self._proc, pid, *mappings)
            return os.open(f"{pid}/ns/user", os.O_RDONLY, dir_fd=self._proc)
        finally:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)
            for fd in (reader, writer, pidfd):
                os.close(fd)
