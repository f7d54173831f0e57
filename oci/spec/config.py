"""The top level of config.json (config.md)."""

from __future__ import annotations

from oci.spec import codec
from oci.spec.linux import IdMapping, Linux
from oci.spec.process import Hooks, Process
from oci.values import fresh, frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@frozen
class Root:
    """`path` is absolute or relative to the bundle."""

    path: str
    readonly: bool = False


@frozen
class Mount:
    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@frozen
class Spec:
    oci_version: str
    process: Process | None = None
    root: Root | None = None
    hostname: str | None = None
    domainname: str | None = None
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: Mapping[str, str] = fresh(default_factory=dict)
    linux: Linux = fresh(default_factory=Linux)

    @classmethod
    def from_json(cls, document: object) -> Spec:
        """Raises `SpecError` naming the field."""
        return codec.decode(cls, document)


def to_json(value: object) -> dict[str, Any]:
    """The JSON document of a `Spec` or of any class of this package."""
    document: dict[str, Any] = codec.encode(value)
    return document
