"""The top level of config.json (config.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oci.spec import codec
from oci.spec.linux import IdMapping, Linux
from oci.spec.process import Hooks, Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """`path` is absolute or relative to the bundle."""

    path: str
    readonly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    oci_version: str
    process: Process | None = None
    root: Root | None = None
    hostname: str | None = None
    domainname: str | None = None
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    linux: Linux = field(default_factory=Linux)

    @classmethod
    def from_json(cls, document: object) -> Spec:
        """Raises `SpecError` naming the field."""
        return codec.decode(cls, document)


def to_json(value: object) -> dict[str, Any]:
    """The JSON document of a `Spec` or of any class of this package."""
    document: dict[str, Any] = codec.encode(value)
    return document
