"""What this host must have before the daemon can serve, and the sentence for each thing that it lacks.

`look` reads the host, `missing` decides (pure). Creates the two roots, which it must do to see that it can.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cri.config.schema import CgroupManager, Settings
from oci import cgroups, syscalls
from oci.errors import OciError
from oci.values import frozen

OLDEST_KERNEL: Final = (5, 10)
NAMESPACES: Final = frozenset({"mnt", "pid", "net", "ipc", "uts", "cgroup"})
CONTROLLERS: Final = frozenset({"cpu", "memory", "pids"})
LIBSECCOMP: Final = "libseccomp.so.2"
_OVERLAYFS_MAGIC: Final = 0x794C7630


@frozen
class Host:
    """What was found. The texts say what is wrong, "" when nothing is."""

    uid: int
    kernel: str
    overlayfs: bool
    namespaces: frozenset[str]
    cgroups: str
    controllers: frozenset[str]
    seccomp: str
    root: str
    runroot: str
    socket: str


def look(settings: Settings) -> Host:
    cgroup_problem, controllers = _cgroups(settings.cgroup_manager)
    return Host(
        uid=os.geteuid(),
        kernel=platform.release(),
        overlayfs=_has_overlayfs(),
        namespaces=frozenset(os.listdir("/proc/self/ns")),
        cgroups=cgroup_problem,
        controllers=controllers,
        seccomp=_seccomp(),
        root=_directory(settings.root) or _no_layers(settings.root),
        runroot=_directory(settings.runroot),
        socket=_socket(settings.socket_path),
    )


def missing(host: Host) -> Iterator[str]:
    """One sentence per thing that is missing; none when the daemon can serve."""
    if host.uid != 0:
        yield f"must run as root, not as user {host.uid}"
    if kernel_version(host.kernel) < OLDEST_KERNEL:
        yield f"needs Linux 5.10 or newer, this is {host.kernel}"
    if not host.overlayfs:
        yield "the kernel has no overlayfs, which containers' root filesystems need (modprobe overlay)"
    if absent := sorted(NAMESPACES - host.namespaces):
        yield f"the kernel has no namespaces of type {', '.join(absent)}"
    if host.cgroups:
        yield host.cgroups
    elif absent := sorted(CONTROLLERS - host.controllers):
        yield f"cgroup controllers {', '.join(absent)} are not available below {cgroups.MOUNT_POINT}"
    for problem in (host.seccomp, host.root, host.runroot, host.socket):
        if problem:
            yield problem


def kernel_version(release: str) -> tuple[int, int]:
    """(major, minor) of a release like 6.1.0-18-amd64; (0, 0) when it is none."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _has_overlayfs() -> bool:
    return any(line.split()[-1] == "overlay" for line in Path("/proc/filesystems").read_text().splitlines())


def _cgroups(manager: CgroupManager) -> tuple[str, frozenset[str]]:
    try:
        driver = cgroups.detect(manager.value)
        return "", driver.controllers
    except (OciError, OSError) as error:
        return str(error), frozenset()


def _seccomp() -> str:
    try:
        ctypes.CDLL(LIBSECCOMP)
    except OSError:
        return f"{LIBSECCOMP} cannot be loaded (install libseccomp2)"
    return ""


def _directory(path: Path) -> str:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return ""
    except OSError as error:
        return f"{path} cannot be written to: {error.strerror}"


def _no_layers(path: Path) -> str:
    """The kernel refuses an overlay whose upper directory lies on another overlay."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syscalls.filesystem_type(fd) == _OVERLAYFS_MAGIC:
            return f"{path} lies on overlayfs, which cannot hold containers' writable layers: choose another --root"
    finally:
        os.close(fd)
    return ""


def _socket(path: Path) -> str:
    """Whether somebody answers there: gRPC would take the address away from them without a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return ""
        except BlockingIOError:
            pass  # somebody listens, and is busy
        except OSError as error:
            return f"{path} cannot be used as a socket: {error.strerror}"
    return f"another process serves {path}"
