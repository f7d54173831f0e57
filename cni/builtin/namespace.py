"""Sockets inside another network namespace. Owns the one place where a thread of the daemon changes its namespace.

A socket belongs to the namespace it was opened in, whichever thread uses it later. So a short-lived thread enters the
namespace, opens the socket and ends: no thread ever has to find its way back.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cni.builtin.netlink import NetlinkSocket
from cni.errors import InvalidAttachment
from oci import syscalls


def open_namespace(path: str) -> int:
    """A descriptor of the network namespace bound at `path`; missing and foreign files are the caller's fault."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidAttachment("network namespace", f"{path}: {error.strerror}") from error
    return fd


class _Visit(threading.Thread):
    def __init__(self, netns_fd: int, path: str, act: Callable[[], None]) -> None:
        super().__init__(name="netns-visit", daemon=True)
        self._netns_fd = netns_fd
        self._path = path
        self._act = act
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            _enter(self._netns_fd, self._path)
            self._act()
        except Exception as error:  # carried to the thread that waits in visit()
            self.error = error


def _enter(netns_fd: int, path: str) -> None:
    try:
        syscalls.setns(netns_fd, syscalls.CLONE_NEWNET)
    except OSError as error:
        raise InvalidAttachment("network namespace", f"{path}: {os.strerror(error.errno or 0)}") from error


def visit(netns_fd: int, path: str, act: Callable[[], None]) -> None:
    """Run `act` in a thread of its own inside the namespace, and wait for it."""
    thread = _Visit(netns_fd, path, act)
    thread.start()
    thread.join()
    if thread.error is not None:
        raise thread.error


@contextmanager
def socket_inside(netns_fd: int, path: str, *, enable_ipv6: bool = False) -> Iterator[NetlinkSocket]:
    """An rtnetlink socket in the namespace; with `enable_ipv6`, interfaces made from now on may have IPv6 addresses."""
    opened: list[NetlinkSocket] = []

    def act() -> None:
        if enable_ipv6:
            _enable_ipv6()
        opened.append(NetlinkSocket(socket.NETLINK_ROUTE))

    visit(netns_fd, path, act)
    try:
        yield opened[0]
    finally:
        opened[0].close()


def _enable_ipv6() -> None:
    """Hosts often boot with IPv6 off by default, and the pod was promised an address that is usable at once."""
    for name, value in (("default/disable_ipv6", "0"), ("lo/disable_ipv6", "0"), ("default/accept_dad", "0")):
        setting = Path("/proc/sys/net/ipv6/conf") / name
        with suppress(FileNotFoundError):  # a kernel without IPv6: adding the address will say so
            if setting.read_text().strip() != value:
                setting.write_text(value)
