"""Attributes of directories that layers only implied.

A layer's tar may hold `tmp/x` without `tmp/`. In the layer's own tree `tmp` is then 0755, which, stacked on a base
where it is 1777, would hide that. Layers are shared between images by their diffID, so they cannot be repaired for one
base. Instead an image gets one more layer on top, the cover: only directories, each with the attributes of the topmost
layer that really describes it. Most images need none.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from imagesvc.layer.files import LayerId
from imagesvc.layer.tar import Entry, Kind
from oci import syscalls

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_RESOLVE: Final = syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_BENEATH
_OPAQUE: Final = "trusted.overlay.opaque"
_NOT_A_DIRECTORY: Final = (errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackedLayer:
    """`root` is a descriptor of the layer's root directory."""

    root: int
    implied: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def plain(self) -> bool:
        """What an implied directory has anyway; its time does not matter."""
        return (self.mode, self.uid, self.gid, self.xattrs) == (0o755, 0, 0, ())


def cover_of(layers: Sequence[StackedLayer]) -> tuple[dict[bytes, Attributes], Attributes]:
    """(directories the cover must hold, by path; attributes of the image's root). `layers` from the top down."""
    paths = sorted({path for layer in layers for path in layer.implied if path}, key=lambda path: path.count(b"/"))
    found: dict[bytes, tuple[Attributes, bool]] = {}
    stacks: dict[bytes, list[int]] = {}
    for path in (b"", *paths):
        _look(path, layers, stacks, found)
    needed = {path for path, (attributes, wrong) in found.items() if wrong and path and not attributes.plain}
    for path in tuple(needed):
        while (path := path.rpartition(b"/")[0]) and path not in needed:
            needed.add(path)
            _look(path, layers, stacks, found)
    return {path: found[path][0] for path in sorted(needed)}, found[b""][0]


def cover_id(layer_ids: Sequence[str], cover: dict[bytes, Attributes]) -> LayerId:
    """The same stack has the same cover."""
    return LayerId(f"cover:{hashlib.sha256(repr((tuple(layer_ids), sorted(cover.items()))).encode()).hexdigest()}")


def entries(cover: dict[bytes, Attributes], root: Attributes) -> list[Entry]:
    return [_entry(b".", root), *(_entry(path, attributes) for path, attributes in cover.items())]


def _entry(path: bytes, attributes: Attributes) -> Entry:
    mtime, mtime_ns = divmod(attributes.mtime_ns, 1_000_000_000)
    return Entry(
        kind=Kind.DIRECTORY,
        name=path,
        link=b"",
        mode=attributes.mode,
        uid=attributes.uid,
        gid=attributes.gid,
        mtime=mtime,
        mtime_ns=mtime_ns,
        size=0,
        offset=0,
        device=(0, 0),
        xattrs=attributes.xattrs,
    )


def _look(
    path: bytes,
    layers: Sequence[StackedLayer],
    stacks: dict[bytes, list[int]],
    found: dict[bytes, tuple[Attributes, bool]],
) -> None:
    """What `path` and its parents should look like goes to `found`, with whether the topmost layer only implies it.

    `stacks` are the indices of the layers whose directories overlayfs merges at a path.
    """
    parts = path.split(b"/") if path else []
    above = list(range(len(layers)))
    for depth in range(len(parts) + 1):
        step = b"/".join(parts[:depth])
        if step not in stacks:
            stacks[step], found[step] = _merged(step, above, layers)
        above = stacks[step]


def _merged(
    path: bytes, above: Sequence[int], layers: Sequence[StackedLayer]
) -> tuple[list[int], tuple[Attributes, bool]]:
    stack: list[int] = []
    attributes: Attributes | None = None
    wrong = opaque = False
    for index in above:
        if opaque and attributes is not None:
            break
        try:
            fd = syscalls.openat2(layers[index].root, path or b".", _OPEN, resolve=_RESOLVE)
        except OSError as error:
            if error.errno == errno.ENOENT:
                continue
            if error.errno in _NOT_A_DIRECTORY:
                break  # a file, a symlink or a whiteout hides everything below
            raise
        with syscalls.closing(fd):
            if not opaque:
                stack.append(index)
            if attributes is None:
                if path in layers[index].implied:
                    wrong = True
                else:
                    attributes = _attributes(fd)
            # What an opaque directory hides are its children: its attributes may still be those below.
            opaque = opaque or (bool(path) and _is_opaque(fd))
    return stack, (attributes or Attributes(), wrong)


def _attributes(fd: int) -> Attributes:
    status = os.fstat(fd)
    names = [
        name for name in os.listxattr(fd) if not name.startswith("trusted.overlay.") and name != "security.selinux"
    ]
    return Attributes(
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        xattrs=tuple((os.fsencode(name), os.getxattr(fd, name)) for name in names),
    )


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
