"""Network namespaces for tests: a stand-in for the host, pods, and a machine outside. Nothing is mounted or bound.

A namespace lives as long as its descriptor; its path is the descriptor's entry in /proc, which plugins can open too.
The test's own thread moves into the stand-in, so that the real host's links, rules and sysctls are never touched.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cni.builtin import rtnetlink
from cni.builtin.bridge import find_link
from cni.builtin.namespace import visit
from cni.builtin.netlink import NetlinkSocket
from oci import syscalls

UPLINK = "uplink0"
HOST_IPV4, OUTSIDE_IPV4 = "192.0.2.1", "192.0.2.2"
HOST_IPV6, OUTSIDE_IPV6 = "2001:db8::1", "2001:db8::2"
_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Namespace:
    fd: int

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives in this namespace, usable from anywhere."""
        made: list[socket.socket] = []
        visit(self.fd, self.path, lambda: made.append(socket.socket(family, kind, protocol)))
        made[0].settimeout(_SECONDS)
        return made[0]

    def links(self) -> dict[str, rtnetlink.Link]:
        with self._netlink() as inside:
            found = [rtnetlink.parse_link(body) for body in inside.query(rtnetlink.dump_links())]
        return {link.name: link for link in found}

    def addresses(self, name: str) -> set[str]:
        index = self.links()[name].index
        with self._netlink() as inside:
            found = list(rtnetlink.parse_addresses(inside.query(rtnetlink.dump_addresses())))
        return {str(interface) for i, interface in found if i == index and not interface.is_link_local}

    @contextmanager
    def _netlink(self) -> Iterator[NetlinkSocket]:
        made: list[NetlinkSocket] = []
        visit(self.fd, self.path, lambda: made.append(NetlinkSocket(socket.NETLINK_ROUTE)))
        try:
            yield made[0]
        finally:
            made[0].close()


@contextmanager
def new_namespace() -> Iterator[Namespace]:
    made: list[int] = []

    def make() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    try:
        yield Namespace(made[0])
    finally:
        os.close(made[0])


@dataclass(frozen=True, slots=True)
class Bench:
    """`host` is where the calling thread is; `outside` is another machine on the host's network."""

    host: Namespace
    outside: Namespace
    stack: ExitStack

    def pod(self) -> Namespace:
        return self.stack.enter_context(new_namespace())


@contextmanager
def bench() -> Iterator[Bench]:
    """The calling thread, and threads and processes it starts, see the stand-in as the host until the end."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with ExitStack() as stack:
        stack.callback(os.close, home)
        host = stack.enter_context(new_namespace())
        outside = stack.enter_context(new_namespace())
        syscalls.setns(host.fd, syscalls.CLONE_NEWNET)
        stack.callback(syscalls.setns, home, syscalls.CLONE_NEWNET)
        _connect(outside)
        yield Bench(host, outside, stack)


def _connect(outside: Namespace) -> None:
    with outside._netlink() as there, _here() as here:
        here.transact([
            rtnetlink.set_loopback_up(),
            rtnetlink.make_veth(
                host_name=UPLINK, bridge_index=0, mtu=1500, peer_name="eth0", peer_mac="0a:58:c0:00:02:02",
                netns_fd=outside.fd,
            ),
        ])  # fmt: skip
        for inside, name, ips in (
            (here, UPLINK, (HOST_IPV4, HOST_IPV6)),
            (there, "eth0", (OUTSIDE_IPV4, OUTSIDE_IPV6)),
        ):
            link = find_link(inside, name)
            assert link is not None
            inside.transact([rtnetlink.set_loopback_up(), rtnetlink.set_up(name)])
            for ip in ips:
                prefix = 24 if "." in ip else 64
                inside.transact([rtnetlink.add_address(link.index, name, ipaddress.ip_interface(f"{ip}/{prefix}"))])


@contextmanager
def _here() -> Iterator[NetlinkSocket]:
    inside = NetlinkSocket(socket.NETLINK_ROUTE)
    try:
        yield inside
    finally:
        inside.close()


def tcp_says(server: Namespace, port: int, client: Namespace, target: tuple[str, int]) -> str:
    """Listen on `port` in one namespace, connect from the other; returns the client's address as the server sees it."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with server.socket(family, socket.SOCK_STREAM) as listener, client.socket(family, socket.SOCK_STREAM) as caller:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen()
        caller.connect(target)
        accepted, peer = listener.accept()
        with accepted:
            accepted.settimeout(_SECONDS)
            caller.sendall(b"ping")
            assert accepted.recv(4) == b"ping"
            accepted.sendall(b"pong")
            assert caller.recv(4) == b"pong"
    return str(peer[0])


def udp_says(server: Namespace, port: int, client: Namespace, target: tuple[str, int]) -> str:
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with server.socket(family, socket.SOCK_DGRAM) as listener, client.socket(family, socket.SOCK_DGRAM) as caller:
        listener.bind(("", port))
        caller.connect(target)
        caller.send(b"ping")
        data, peer = listener.recvfrom(16)
        assert data == b"ping"
        listener.sendto(b"pong", peer)
        assert caller.recv(16) == b"pong"
    return str(peer[0])
