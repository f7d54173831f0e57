"""`linux.netDevices`: devices of our network namespace become the container's (config-linux.md, "Network Devices").

A device keeps its permanent addresses of global scope, which the kernel takes away from one that changes its namespace,
gets the name the config gives it, and is set up. All are looked at before the first is moved. Nothing is ever moved
back: what the kernel does with the devices of a namespace that ends is not a runtime's business.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from oci import syscalls as sc
from oci.errors import ContainerError, SpecError
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

    from oci.spec import NetDevice

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_NETLINK_ROUTE: Final = 0
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_ERROR, _DONE = 2, 3
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_PERMANENT, _IFA_F_NODAD = 0x80, 0x02
_UNIVERSE: Final = 0
_IFF_UP: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_LONGEST_NAME: Final = 15
_PATIENCE: Final = 10.0


def check(devices: Mapping[str, NetDevice]) -> None:
    """What can be said without looking at the host."""
    taken: set[str] = set()
    for name, device in devices.items():
        field = f"linux.netDevices[{name!r}]"
        _check_name(field, name.replace("%", ""), name)
        target = device.name or name
        _check_name(f"{field}.name", target.replace("%d", "0", 1), target)
        if target in taken:
            raise SpecError(f"{field}.name", f"{target!r} is given twice")
        if "%d" not in target:
            taken.add(target)


def _check_name(field: str, plain: str, shown: str) -> None:
    """A device's name as the kernel takes it; one `%d` in a new name is replaced by the first free number."""
    if not plain or plain in (".", "..") or len(shown.encode()) > _LONGEST_NAME:
        raise SpecError(field, f"{shown!r} is not a network device's name")
    if any(character in "/:%" or character.isspace() or not character.isprintable() for character in plain):
        raise SpecError(field, f"{shown!r} is not a network device's name")


@frozen
class _Device:
    name: str
    target: str
    index: int
    addresses: tuple[bytes, ...]


def move(devices: Mapping[str, NetDevice], namespace: int, own: int) -> None:
    """Into the network namespace that `namespace` is a descriptor of; `own` is one of ours. Raises ContainerError."""
    here = _Netlink()
    sc.setns(namespace, sc.CLONE_NEWNET)
    try:
        there = _Netlink()
    finally:
        sc.setns(own, sc.CLONE_NEWNET)
    try:
        present, taken = here.links(), there.links()
        found = [_look(here, present, taken, name, device.name or name) for name, device in devices.items()]
        for device in found:
            _move(here, there, device, namespace)
    finally:
        here.close()
        there.close()


def _look(here: _Netlink, present: Mapping[str, int], taken: Mapping[str, int], name: str, target: str) -> _Device:
    index = present.get(name)
    if index is None:
        raise ContainerError(_stage(name), errno.ENODEV, "there is no such network device")
    if target in taken:
        raise ContainerError(_stage(name), errno.EEXIST, f"the container has a network device {target} already")
    return _Device(name=name, target=target, index=index, addresses=tuple(here.addresses(index)))


def _move(here: _Netlink, there: _Netlink, device: _Device, namespace: int) -> None:
    before = set(there.links().values())
    # Down first: a device must not answer under its new name before its addresses are back.
    here.ask(_stage(device.name), _NEWLINK, _LINK.pack(0, 0, device.index, 0, _IFF_UP))
    body = _LINK.pack(0, 0, device.index, 0, 0)
    body += _attribute(_IFLA_NET_NS_FD, struct.pack("=I", namespace))
    body += _attribute(_IFLA_IFNAME, device.target.encode() + b"\0")
    here.ask(_stage(device.name), _NEWLINK, body)
    index = next(index for index in there.links().values() if index not in before)
    for address in device.addresses:
        family, prefix, flags, scope, _ = _ADDRESS.unpack_from(address)
        head = _ADDRESS.pack(family, prefix, flags, scope, index)
        there.ask(_stage(device.name), _NEWADDR, head + address[_ADDRESS.size :], _CREATE | _EXCL)
    there.ask(_stage(device.name), _NEWLINK, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP))


def _stage(name: str) -> str:
    return f"move network device {name}"


class _Netlink:
    """A routing socket of the network namespace it is made in."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, _NETLINK_ROUTE)
        self._socket.settimeout(_PATIENCE)

    def close(self) -> None:
        self._socket.close()

    def links(self) -> dict[str, int]:
        found = {}
        for body in self._dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0)):
            name = dict(_attributes(body[_LINK.size :])).get(_IFLA_IFNAME, b"")
            found[name.rstrip(b"\0").decode(errors="surrogateescape")] = _LINK.unpack_from(body)[2]
        return found

    def addresses(self, index: int) -> Iterator[bytes]:
        """Bodies of requests that give the device the addresses it has now, and that it is to keep."""
        for body in self._dump(_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)):
            family, prefix, flags, scope, owner = _ADDRESS.unpack_from(body)
            found = dict(_attributes(body[_ADDRESS.size :]))
            if _IFA_FLAGS in found:
                (flags,) = struct.unpack("=I", found[_IFA_FLAGS])
            if owner != index or scope != _UNIVERSE or not flags & _IFA_F_PERMANENT:
                continue
            # It was found to be nobody else's when it was first given.
            flags = _IFA_F_NODAD if family == _socket.AF_INET6 else 0
            yield _ADDRESS.pack(family, prefix, flags, scope, 0) + b"".join(
                _attribute(kind, found[kind]) for kind in (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST) if kind in found
            )

    def ask(self, stage: str, kind: int, body: bytes, flags: int = 0) -> None:
        self._send(kind, body, _ACK | flags)
        for got, content in self._received():
            if got == _ERROR:
                (number,) = struct.unpack_from("=i", content)
                if number:
                    raise ContainerError(stage, -number, os.strerror(-number).lower())
                return

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        self._send(kind, body, _DUMP)
        for got, content in self._received():
            if got == _DONE:
                return
            if got == _ERROR:
                (number,) = struct.unpack_from("=i", content)
                raise ContainerError("look at network devices", -number, os.strerror(-number).lower())
            yield content

    def _send(self, kind: int, body: bytes, flags: int) -> None:
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 1, 0) + body)

    def _received(self) -> Iterator[tuple[int, bytes]]:
        while True:
            data = self._socket.recv(1 << 17)
            while len(data) >= _HEADER.size:
                length, kind, _, _, _ = _HEADER.unpack_from(data)
                yield kind, data[_HEADER.size : length]
                data = data[(length + 3) & ~3 :]


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
