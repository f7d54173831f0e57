"""Compiled seccomp filters as sealed files: one descriptor for all containers that use the same filter."""

from __future__ import annotations

import fcntl
import os

from oci import syscalls

_SEALS = syscalls.F_SEAL_SEAL | syscalls.F_SEAL_SHRINK | syscalls.F_SEAL_GROW | syscalls.F_SEAL_WRITE


class Programs:
    def __init__(self) -> None:
        self._fds: dict[bytes, int] = {}

    def fd(self, program: bytes) -> int:
        """A descriptor that stays this object's; whoever sends it, sends a duplicate."""
        fd = self._fds.get(program)
        if fd is None:
            fd = os.memfd_create("seccomp", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.write(fd, program)
            fcntl.fcntl(fd, syscalls.F_ADD_SEALS, _SEALS)
            self._fds[program] = fd
        return fd

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
