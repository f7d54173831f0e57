"""Questions that only the kernel answers: each is tried, and undone at once. "" means yes, else the reason."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from imagesvc.errors import LayerError
from imagesvc.layer.writer import LayerForm
from imagesvc.mounts import choose_form
from oci import mounts, syscalls
from oci.engine.userns import IdmapNamespaces
from oci.spec import IdMapping

_NETLINK_NETFILTER: Final = 12
_GET_GENERATION: Final = (10 << 8) | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_PROBE: Final = IdMapping(container_id=0, host_id=1 << 30, size=1 << 16)
_PATIENCE_S: Final = 3.0


class Probes(Protocol):
    def ask(self, feature: str) -> str:
        """ "" when the kernel can do it, else why not."""

    def release(self) -> str:
        """The kernel's."""


class KernelProbes:
    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or Path(tempfile.gettempdir())

    def ask(self, feature: str) -> str:
        try:
            return _QUESTIONS[feature](self._directory)
        except OSError as error:
            return error.strerror or str(error)

    def release(self) -> str:
        return os.uname().release


def _pidfd(_: Path) -> str:
    os.close(os.pidfd_open(os.getpid()))
    return ""


def _nftables(_: Path) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.settimeout(_PATIENCE_S)
        # A netlink header and a nfgenmsg that ask for the number of the rule set.
        netlink.send(struct.pack("=IHHII4x", 20, _GET_GENERATION, _NLM_F_REQUEST, int(time.time()) & 0xFFFF, 0))
        answer = netlink.recv(4096)
    kind: int = struct.unpack_from("=H", answer, 4)[0]
    number: int = -struct.unpack_from("=i", answer, 16)[0] if kind == _NLMSG_ERROR else 0
    return os.strerror(number) if number else ""


def _idmapped(directory: Path) -> str:
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    namespaces = IdmapNamespaces(proc)
    try:
        user_fd = namespaces.get(((_PROBE,), (_PROBE,)))
        mount = mounts.clone_tree(syscalls.AT_FDCWD, str(directory))
        with syscalls.closing(mount):
            mounts.set_idmap(mount, user_fd)
    finally:
        namespaces.close()
        os.close(proc)
    return ""


def _erofs(directory: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="coracle-doctor-", dir=directory) as layers:
        try:
            choose_form(Path(layers), LayerForm.EROFS)
        except LayerError as error:
            return str(error.__cause__ or error)
    return ""


_QUESTIONS: Final[Mapping[str, Callable[[Path], str]]] = {
    "pidfd": _pidfd,
    "nftables": _nftables,
    "idmapped mounts": _idmapped,
    "erofs files": _erofs,
}
