"""Which device a CDI name means on this host: the specification files of the configured directories.

A directory that comes later wins. Within one, a device that two files describe is neither's.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cri.cdi.apply import apply
from cri.cdi.document import ContainerEdits, Device, DeviceNode, Document, parse, split_name
from cri.errors import InvalidArgument
from oci import spec
from oci.errors import SpecError
from oci.values import frozen

_LIMIT: Final = 8 << 20
_KINDS: Final = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


@frozen
class Found:
    path: Path
    document: Document
    device: Device


@dataclass(slots=True)
class Catalog:
    """`problems` says of files, and of names that two files claim, why they count for nothing."""

    devices: dict[str, Found] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def inject(directories: Sequence[Path], base: spec.Spec, names: Sequence[str], where: str) -> spec.Spec:
    """`base` with the devices of these names, each of vendor/class=device. Blocks: it reads files.

    `where` is the field the names come from. Raises InvalidArgument.
    """
    catalog = read(directories)
    edits: list[ContainerEdits] = []
    files: set[Path] = set()
    for name in dict.fromkeys(names):
        found = _find(catalog, name, where, directories)
        if found.path not in files:
            files.add(found.path)
            edits.append(_complete(found.document.container_edits, name, where))
        edits.append(_complete(found.device.container_edits, name, where))
    return apply(base, edits)


def read(directories: Sequence[Path]) -> Catalog:
    """Files that cannot be used are left out, with the reason; directories need not exist."""
    catalog = Catalog()
    for directory in directories:
        mine: dict[str, Found] = {}
        twice: set[str] = set()
        for path in _files(directory):
            try:
                document = _load(path)
            except (OSError, ValueError, SpecError) as error:
                catalog.problems.append(f"{path}: {' '.join(str(error).split())}")
                continue
            for device in document.devices:
                name = f"{document.kind}={device.name}"
                if name in mine:
                    twice.add(name)
                    catalog.problems.append(f"{name} is in {mine[name].path} and in {path}")
                mine[name] = Found(path=path, document=document, device=device)
        for name in twice:
            del mine[name]
            catalog.devices.pop(name, None)
        catalog.devices |= mine
    return catalog


def _files(directory: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.endswith((".json", ".yaml", ".yml")) and not name.startswith("."):
            yield directory / name


def _load(path: Path) -> Document:
    with open(path, encoding="utf-8") as file:
        text = file.read(_LIMIT + 1)
    if len(text) > _LIMIT:
        raise ValueError(f"is larger than {_LIMIT >> 20} MiB")
    return parse(json.loads(text) if path.suffix == ".json" else _yaml(text))


def _yaml(text: str) -> object:
    import yaml  # JSON is what generators write

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _find(catalog: Catalog, name: str, where: str, directories: Sequence[Path]) -> Found:
    try:
        split_name(name)
    except ValueError as error:
        raise InvalidArgument(where, str(error)) from None
    found = catalog.devices.get(name)
    if found is None:
        places = ", ".join(map(str, directories)) or "no directory"
        why = "".join(f"; {problem}" for problem in catalog.problems)
        raise InvalidArgument(where, f"CDI device {name} is described by no file in {places}{why}")
    return found


def _complete(edits: ContainerEdits, name: str, where: str) -> ContainerEdits:
    """With the host's answers to what the file leaves open about device nodes."""
    try:
        nodes = tuple(complete(node) for node in edits.device_nodes)
    except OSError as error:
        raise InvalidArgument(where, f"CDI device {name}: {error.filename}: {error.strerror}") from error
    return replace(edits, device_nodes=nodes)


def complete(node: DeviceNode) -> DeviceNode:
    """Raises OSError when the host has no such node, or it is of another type."""
    if node.type == "p" or (node.type and node.major is not None and node.minor is not None):
        return node
    path = node.host_path or node.path
    status = os.stat(path)
    kind = next((kind for kind in "cbp" if stat.S_IFMT(status.st_mode) == _KINDS[kind]), "")
    if not kind or (node.type and _KINDS[node.type] != _KINDS[kind]):
        raise OSError(0, f"is not a device of type {node.type}" if node.type else "is not a device", path)
    return replace(
        node,
        type=node.type or kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        file_mode=stat.S_IMODE(status.st_mode) if node.file_mode is None else node.file_mode,
    )
