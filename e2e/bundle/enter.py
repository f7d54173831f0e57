"""Executes a command in another root, as on a node with only that: `python -m e2e.bundle.enter ROOT BUNDLE SHARED ...`.

In a mount namespace of its own, so that nothing stays behind, and with pivot_root: a process after chroot may make no
user namespaces. ROOT gets /proc, /dev, /sys, empty /tmp and /run, the bundle at /opt/coracle, and SHARED at its own
path, where the caller finds sockets and logs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from oci import syscalls

PLACE: Final = "/opt/coracle"
_BIND: Final = syscalls.MS_BIND | syscalls.MS_REC


def enter(root: Path, bundle: Path, shared: Path) -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount(str(root), str(root), None, _BIND)
    _place(root, "proc", "proc", "proc", 0)
    _place(root, "dev", "/dev", None, _BIND)
    _place(root, "sys", "/sys", None, _BIND)
    for name in ("tmp", "run"):
        _place(root, name, "tmpfs", "tmpfs", 0)
    _place(root, PLACE, str(bundle), None, _BIND)
    _place(root, str(shared), str(shared), None, _BIND)
    os.chdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", syscalls.MNT_DETACH)
    os.chdir("/")


def _place(root: Path, name: str, source: str, kind: str | None, flags: int) -> None:
    target = root / name.strip("/")
    target.mkdir(parents=True, exist_ok=True)
    syscalls.mount(source, str(target), kind, flags)


if __name__ == "__main__":
    _, root, bundle, shared, *command = sys.argv
    enter(Path(root), Path(bundle), Path(shared))
    os.execve(command[0], command, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
