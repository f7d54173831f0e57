"""What both forms of a layer have in common: fed with the tar, they end as facts about what was written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from imagesvc.layer.tar import Entry
from imagesvc.layer.tree import LayerTree, Node


class LayerForm(Enum):
    EROFS = "erofs"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """See imagesvc.layer.seal. `content_end` is where the tar ends in an EROFS file; 0 in a directory."""

    content_end: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """`size` in bytes and `inodes` as they weigh on the host's file system; `implied` are paths of directories that the
    layer has but does not describe ("" for its root); `opaque_root` hides all lower layers."""

    size: int
    inodes: int
    implied: tuple[bytes, ...]
    opaque_root: bool
    seal: Seal


class LayerWriter(Protocol):
    def feed(self, data: bytes) -> None:
        """The next bytes of the tar. Raises CorruptLayer, OSError."""

    def add(self, entry: Entry) -> None:
        """One entry that has no content, beside those of a tar. Raises CorruptLayer, OSError."""

    def finish(self) -> LayerFacts:
        """The tar is complete: writes the rest and makes it durable. Raises CorruptLayer, OSError."""

    def close(self) -> None:
        """Releases descriptors; what was written stays for the caller to rename or remove."""


def facts(tree: LayerTree, *, size: int, inodes: int, seal: Seal) -> LayerFacts:
    implied: list[bytes] = []
    pending: list[tuple[Node, bytes]] = [(tree.root, b"")]
    while pending:
        node, path = pending.pop()
        if node.implied:
            implied.append(path)
        for name, child in _items(node):
            if child.children is not None:
                pending.append((child, path + b"/" + name if path else name))
    return LayerFacts(
        size=size,
        inodes=inodes,
        implied=tuple(sorted(implied)),
        opaque_root=tree.root.opaque,
        seal=seal,
    )


def _items(node: Node) -> Iterable[tuple[bytes, Node]]:
    return (node.children or {}).items()
