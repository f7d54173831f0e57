"""A CDI specification file as values. Pure: text is parsed elsewhere, the host is not looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from oci.errors import SpecError
from oci.spec import IntelRdt
from oci.spec.codec import I64, U32, decode, json_name
from oci.values import field_names, fresh, frozen

__all__ = ["ContainerEdits", "Device", "DeviceNode", "Document", "parse", "split_name"]

_VENDOR: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_CLASS: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
_DEVICE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")
_HOOKS: Final = frozenset(("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"))


@frozen
class DeviceNode:
    """What is absent is the host's: its path that of the container, its numbers and rights those of its node."""

    path: str
    host_path: str = ""
    type: str = ""
    major: I64 | None = None
    minor: I64 | None = None
    file_mode: U32 | None = None
    permissions: str = ""
    uid: U32 | None = None
    gid: U32 | None = None


@frozen
class Mount:
    host_path: str
    container_path: str
    type: str = ""
    options: tuple[str, ...] = ()


@frozen
class Hook:
    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: I64 | None = None


@frozen
class NetDevice:
    host_interface_name: str
    name: str


@frozen
class ContainerEdits:
    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    net_devices: tuple[NetDevice, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()
    additional_gids: tuple[U32, ...] = ()
    intel_rdt: IntelRdt | None = None


@frozen
class Device:
    name: str
    container_edits: ContainerEdits = fresh(default_factory=ContainerEdits)


@frozen
class Document:
    """`kind` is vendor/class; `container_edits` are for every container that gets any device of the file."""

    cdi_version: str
    kind: str
    devices: tuple[Device, ...] = ()
    container_edits: ContainerEdits = fresh(default_factory=ContainerEdits)


def parse(content: object) -> Document:
    """Raises SpecError naming the property. An edit that we do not know is refused: the device would not work."""
    document = decode(Document, content)
    if not document.cdi_version.lstrip("v").startswith(("0.", "1.")):
        raise SpecError("cdiVersion", f"{document.cdi_version!r} is not supported")
    vendor, _, kind = document.kind.partition("/")
    if not (_VENDOR.fullmatch(vendor) and _CLASS.fullmatch(kind)):
        raise SpecError("kind", f"{document.kind!r} is not vendor/class")
    names = [device.name for device in document.devices]
    for index, name in enumerate(names):
        if not _DEVICE.fullmatch(name):
            raise SpecError(f"devices[{index}].name", f"{name!r} is not the name of a device")
        if name in names[:index]:
            raise SpecError(f"devices[{index}].name", f"{name!r} comes twice")
    for where, raw, edits in _all_edits(content, document):
        _check(where, raw, edits)
    return document


def split_name(name: str) -> tuple[str, str]:
    """vendor/class and device of vendor/class=device; raises ValueError."""
    kind, separator, device = name.partition("=")
    vendor, _, cls = kind.partition("/")
    if not (separator and _VENDOR.fullmatch(vendor) and _CLASS.fullmatch(cls) and _DEVICE.fullmatch(device)):
        raise ValueError(f"{name!r} is not vendor/class=device")
    return kind, device


def _all_edits(content: object, document: Document) -> Iterator[tuple[str, object, ContainerEdits]]:
    assert isinstance(content, Mapping)
    yield "containerEdits", content.get("containerEdits"), document.container_edits
    for index, device in enumerate(document.devices):
        raw = content["devices"][index].get("containerEdits")
        yield f"devices[{index}].containerEdits", raw, device.container_edits


def _check(where: str, raw: object, edits: ContainerEdits) -> None:
    known = {json_name(name) for name in field_names(ContainerEdits)}
    for key in raw if isinstance(raw, Mapping) else ():
        if key not in known:
            raise SpecError(f"{where}.{key}", "is an edit that this version cannot make")
    for entry in edits.env:
        if "=" not in entry or entry.startswith("="):
            raise SpecError(f"{where}.env", f"{entry!r} is not NAME=VALUE")
    for node in edits.device_nodes:
        if not node.path.startswith("/"):
            raise SpecError(f"{where}.deviceNodes", f"path {node.path!r} is not absolute")
        if node.type not in ("", "b", "c", "u", "p"):
            raise SpecError(f"{where}.deviceNodes", f"{node.path}: type {node.type!r} is not one of b, c, u, p")
        if set(node.permissions) - set("rwm"):
            raise SpecError(f"{where}.deviceNodes", f"{node.path}: {node.permissions!r} is more than r, w and m")
    for mount in edits.mounts:
        if not mount.host_path or not mount.container_path.startswith("/"):
            raise SpecError(f"{where}.mounts", f"{mount.container_path!r} needs a host path and an absolute place")
    for hook in edits.hooks:
        if hook.hook_name not in _HOOKS:
            raise SpecError(f"{where}.hooks", f"{hook.hook_name!r} is not the name of a hook")
        if not hook.path.startswith("/"):
            raise SpecError(f"{where}.hooks", f"path {hook.path!r} is not absolute")
