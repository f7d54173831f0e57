"""SELinux labels on files. Which label is not decided here.

A volume belongs to containers, which may change it while it is walked: every step goes by descriptor, below the
volume's root and through no link, so that no file of the host is labelled instead.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Final

from oci import syscalls

Check = Callable[[], None]

ATTRIBUTE: Final = "security.selinux"
_BELOW: Final = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
#: What a host cannot do without, and so nothing that holds one of these either.
_HOSTS = tuple(
    map(
        PurePath,
        (
            *("/bin", "/boot", "/etc", "/etc/passwd", "/etc/pki", "/etc/shadow", "/home", "/lib", "/lib64", "/media"),
            *("/mnt", "/opt", "/root", "/run", "/sbin", "/srv", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/lib64"),
            *("/usr/local", "/usr/sbin", "/usr/share", "/var/lib", "/var/log", "/var/lib/kubelet", "/var/tmp"),
        ),
    )
)
#: Nothing below these either: they are the kernel's.
_KERNELS = tuple(map(PurePath, ("/dev", "/proc", "/sys")))


class Refused(Exception):
    """`path` is one that must keep its labels."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is the host's: it is not relabelled")
        self.path = path


def label_file(path: str | PurePath, label: str, *, follow: bool = False) -> bool:
    """One file, a link itself unless `follow`; no write where it has the label. False: its file system keeps none."""
    value = label.encode()
    try:
        if os.getxattr(path, ATTRIBUTE, follow_symlinks=follow).rstrip(b"\0") == value:
            return True
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
    try:
        os.setxattr(path, ATTRIBUTE, value, follow_symlinks=follow)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return False
    return True


def relabel(path: str, label: str, own: Iterable[PurePath] = (), check: Check = lambda: None) -> None:
    """The file or directory, and all below it. Raises Refused for what the host, or we (`own`), cannot do without.

    A file system without labels is left alone. Raises OSError, and what `check` raises: it is called now and then, to
    say that nobody waits for this any more.
    """
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    with syscalls.closing(fd):
        check_path(os.readlink(f"/proc/self/fd/{fd}"), own)
        label_tree(fd, label, check)


def check_path(real: str, own: Iterable[PurePath] = ()) -> None:
    """Raises Refused."""
    path = PurePath(real)
    if any(place.is_relative_to(path) for place in (*_HOSTS, *own)) or any(map(path.is_relative_to, _KERNELS)):
        raise Refused(real)


def label_tree(fd: int, label: str, check: Check = lambda: None) -> None:
    """What the descriptor is of comes last: once it has the label, all below has it."""
    if not stat.S_ISDIR(os.fstat(fd).st_mode) or _label_below(fd, label, check):
        label_file(f"/proc/self/fd/{fd}", label, follow=True)


def _label_below(top: int, label: str, check: Check) -> bool:
    """False where the file system keeps no labels."""
    waiting = ["."]
    while waiting:
        check()
        path = waiting.pop()
        try:
            directory = syscalls.openat2(top, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, resolve=_BELOW)
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed meanwhile, or replaced
        except OSError as error:
            if error.errno == errno.ELOOP:
                continue
            raise
        with syscalls.closing(directory), os.scandir(directory) as entries:
            for entry in entries:
                try:
                    if not label_file(f"/proc/self/fd/{directory}/{entry.name}", label):
                        return False
                except FileNotFoundError:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{path}/{entry.name}")
    return True
