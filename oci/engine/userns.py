"""User namespaces seen from outside: writing a child's id mappings, and namespaces that exist only to hold mappings."""

from __future__ import annotations

import os

from oci import syscalls as sc
from oci.init.context import Mappings
from oci.signals import signal
from oci.spec import IdMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def write_mappings(proc: int, pid: int, uids: Sequence[IdMapping], gids: Sequence[IdMapping]) -> None:
    for name, mappings in (("uid_map", uids), ("gid_map", gids)):
        text = "".join(f"{entry.container_id} {entry.host_id} {entry.size}\n" for entry in mappings)
        fd = os.open(f"{pid}/{name}", os.O_WRONLY, dir_fd=proc)
        try:
            os.write(fd, text.encode())
        except OSError as error:
            raise OSError(error.errno, f"write {name} {text.strip()!r}: {os.strerror(error.errno or 0)}")
        finally:
            os.close(fd)


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
