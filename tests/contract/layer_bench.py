"""Layers of either form on disk, archives to make them of, and a look at what they are. For the suites of layers."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagesvc.layer.files import LayerId, open_writer
from imagesvc.layer.writer import LayerFacts, LayerForm
from imagesvc.mounts import LayerMounts, Way
from imagesvc.stack import stack
from imagesvc.store.records import LayerRecord

EPOCH = 1_700_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a path is, as far as a container can tell. Sizes of directories are the file system's own affair."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    nlink: int = 1
    content: bytes = b""
    device: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Bench:
    """Layers of one form in a directory, and overlays of them."""

    form: LayerForm
    way: Way
    path: Path
    mounts: LayerMounts = field(init=False)
    layers: list[LayerRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.path / "layers").mkdir()
        self.mounts = LayerMounts(self.path / "layers", self.path / "run", self.way)

    def add(self, tar: bytes, *, piece: int = 1 << 16) -> LayerFacts:
        layer = LayerId(f"sha256:{len(self.layers) + 1:064x}")
        name = layer.removeprefix("sha256:") + (".erofs" if self.form is LayerForm.EROFS else "")
        writer = open_writer(self.path / "layers" / name, layer, self.form)
        try:
            for start in range(0, len(tar), piece):
                writer.feed(tar[start : start + piece])
            facts = writer.finish()
        finally:
            writer.close()
        self.layers.append(
            LayerRecord(
                id=layer,
                form=self.form,
                size=facts.size,
                inodes=facts.inodes,
                implied=frozenset(facts.implied),
                opaque_root=facts.opaque_root,
            )
        )
        return facts

    def root(self, index: int = -1) -> int:
        return self.mounts.root(self.layers[index].id, self.form)

    def stacked(self) -> list[LayerRecord]:
        return stack([layer.id for layer in self.layers], {layer.id: layer for layer in self.layers})

    @contextmanager
    def overlay(self) -> Iterator[int]:
        upper, work = self.path / "upper", self.path / "work"
        upper.mkdir()
        work.mkdir()
        roots = [self.mounts.root(layer.id, layer.form) for layer in self.stacked()]
        fd = self.mounts.overlay(roots, upper=upper, work=work)
        try:
            yield fd
        finally:
            os.close(fd)
            shutil.rmtree(upper)
            shutil.rmtree(work)


@contextmanager
def bench(form: LayerForm, way: Way = Way.DETACHED) -> Iterator[Bench]:
    # Not below /tmp: that is a tmpfs on some machines, from which EROFS files cannot be mounted.
    path = Path(tempfile.mkdtemp(prefix="coracle-layers-", dir="/var/tmp"))
    made = Bench(form=form, way=way, path=path)
    try:
        yield made
    finally:
        made.mounts.close()
        shutil.rmtree(path)


def entry(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = EPOCH
    for key, value in values.items():
        setattr(info, key, value)
    return info


def archive(*entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as tar:
        for item in entries:
            info, content = item if isinstance(item, tuple) else (item, b"")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def look(root: int | Path) -> dict[str, Seen]:
    """Everything below `root`, itself as ".", by path."""
    path = f"/proc/self/fd/{root}" if isinstance(root, int) else str(root)
    found: dict[str, Seen] = {}
    pending = ["."]
    while pending:
        name = pending.pop()
        full = os.path.join(path, name)
        status = os.lstat(full) if name != "." else os.stat(full)
        content = b""
        if stat.S_ISREG(status.st_mode):
            content = Path(full).read_bytes()
            assert len(content) == status.st_size
        elif stat.S_ISLNK(status.st_mode):
            content = os.fsencode(os.readlink(full))
            assert len(content) == status.st_size
        elif stat.S_ISDIR(status.st_mode):
            pending += [os.path.normpath(os.path.join(name, leaf)) for leaf in os.listdir(full)]
        follow = name == "."
        names = sorted(os.listxattr(full, follow_symlinks=follow))
        found[name] = Seen(
            mode=status.st_mode,
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
            nlink=1 if stat.S_ISDIR(status.st_mode) else status.st_nlink,
            content=content,
            device=status.st_rdev,
            xattrs=tuple((key, os.getxattr(full, key, follow_symlinks=follow)) for key in names),
        )
    return found


def without_directory_times(seen: dict[str, Seen]) -> dict[str, Seen]:
    return {path: replace(item, mtime_ns=0) if stat.S_ISDIR(item.mode) else item for path, item in seen.items()}
