"""/dev: default nodes and links (config-linux.md, "Default Devices", "Dev symbolic links"), `linux.devices`. Pure."""

from __future__ import annotations

import posixpath

from oci.errors import SpecError
from oci.plan import operations as op
from oci.spec import Device, IdMapping, Linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_DEFAULT: Final = tuple(
    Device(path=f"/dev/{name}", type="c", major=major, minor=minor, file_mode=0o666)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
_LINKS: Final = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)
_TYPES: Final = frozenset("cbup")


def plan_devices(linux: Linux, *, user_namespace: bool) -> list[op.Operation]:
    """Nodes the config names replace the default of the same path."""
    wanted = {device.path: device for device in _DEFAULT}
    for index, device in enumerate(linux.devices):
        where = f"linux.devices[{index}]"
        if device.type not in _TYPES:
            raise SpecError(f"{where}.type", f"{device.type!r} is not one of c, b, u, p")
        if not device.path.startswith("/"):
            raise SpecError(f"{where}.path", f"{device.path!r} is not absolute")
        path = posixpath.normpath(device.path)
        if path in ("/dev/ptmx", "/dev/console"):
            continue  # these are the container's own terminal's, never the host's
        wanted[path] = device
    named = {posixpath.normpath(device.path) for device in linux.devices}
    steps: list[op.Operation] = []
    for path, device in wanted.items():
        bind = user_namespace and device.type != "p"
        owner = _host_owner(linux, device) if bind and path in named else None
        steps.append(op.MakeDevice(device=device, bind=bind, owner=owner))
    steps += [op.MakeSymlink(path=path, target=target, replace=False) for path, target in _LINKS]
    steps.append(op.MakeSymlink(path="/dev/ptmx", target="pts/ptmx"))
    return steps


def _host_owner(linux: Linux, device: Device) -> tuple[int, int] | None:
    """The device's owner as ids of the host; None where the namespace has no such id."""
    uid, gid = (
        _to_host(device.uid or 0, linux.uid_mappings),
        _to_host(device.gid or 0, linux.gid_mappings),
    )
    return None if uid is None or gid is None else (uid, gid)


def _to_host(number: int, mappings: tuple[IdMapping, ...]) -> int | None:
    for entry in mappings:
        if entry.container_id <= number < entry.container_id + entry.size:
            return entry.host_id + number - entry.container_id
    return None
