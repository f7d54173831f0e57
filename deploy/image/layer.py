"""One layer of an image: a tar stream that is compressed and hashed while it is written to a file.

Owns the order, modes and times of the entries, so that the same content gives the same digest on every machine: times
are fixed, owners are numbers, parents come before children and directories are walked in order.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import IO, Final, cast

EPOCH: Final = 1_700_000_000
"""The modification time of every entry: any fixed moment does."""


class Compression(Enum):
    """How a layer travels. The value is the suffix of its OCI media type."""

    PLAIN = ""
    GZIP = "+gzip"
    ZSTD = "+zstd"

    @property
    def media_type(self) -> str:
        return f"application/vnd.oci.image.layer.v1.tar{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A finished layer; `path` is the compressed blob, `diff_id` the digest of what it inflates to."""

    path: Path
    digest: str
    diff_id: str
    size: int
    media_type: str


class LayerBuilder:
    """Adds entries in the order of the calls; missing parent directories are added (0755, root) by themselves.

    Use as a context manager: leaving it without `finish` removes the half-written file.
    """

    def __init__(self, directory: Path, compression: Compression = Compression.GZIP) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._compression = compression
        self._seen: set[str] = set()
        self._partial = directory / f".layer-{os.getpid()}-{id(self):x}"
        self._sink = _Hashing(self._partial.open("wb"))
        self._packer = _packer(self._sink, compression)
        self._plain = _Hashing(self._packer)
        # 1 MiB records: tarfile writes through to the compressor in few calls.
        self._tar = tarfile.open(  # noqa: SIM115
            fileobj=cast("IO[bytes]", self._plain), mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20
        )

    def __enter__(self) -> LayerBuilder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._partial.unlink(missing_ok=True)

    def directory(self, path: str, mode: int = 0o755, *, uid: int = 0, gid: int = 0) -> None:
        name = path.strip("/")
        if not name or name in self._seen:
            return
        self._parent(name)
        self._add(_entry(name, tarfile.DIRTYPE, mode, uid, gid))

    def file(self, path: str, content: bytes | str | Path, mode: int = 0o644, *, uid: int = 0, gid: int = 0) -> None:
        """`content` is the bytes themselves, text to encode, or a file to copy."""
        name = path.strip("/")
        self._parent(name)
        entry = _entry(name, tarfile.REGTYPE, mode, uid, gid)
        if isinstance(content, Path):
            with content.open("rb") as source:
                entry.size = os.fstat(source.fileno()).st_size
                self._add(entry, source)
            return
        data = content.encode() if isinstance(content, str) else content
        entry.size = len(data)
        self._add(entry, io.BytesIO(data))

    def symlink(self, path: str, target: str) -> None:
        self._link(path, tarfile.SYMTYPE, target)

    def hardlink(self, path: str, target: str) -> None:
        """`target` is an entry that was added before."""
        self._link(path, tarfile.LNKTYPE, target.strip("/"))

    def whiteout(self, path: str) -> None:
        """Hides what a lower layer has at `path`."""
        parent, _, leaf = path.strip("/").rpartition("/")
        self.file(f"{parent}/.wh.{leaf}", b"")

    def raw(self, entry: tarfile.TarInfo, content: bytes = b"") -> None:
        """Any entry as it is: for tests that need an archive no honest tool would write."""
        entry.size = len(content)
        self._add(entry, io.BytesIO(content))

    def tree(self, root: Path, *, below: str = "", skip: Iterable[str] = ()) -> None:
        """Everything under `root`; names that are there already, and those in `skip`, are left out."""
        skipped = {name.strip("/") for name in skip}
        for directory, subdirectories, files in os.walk(root):
            subdirectories.sort()
            relative = os.path.normpath(os.path.join(below, os.path.relpath(directory, root)))
            if relative != ".":
                self.directory(relative, stat.S_IMODE(os.stat(directory).st_mode))
            links = [name for name in subdirectories if os.path.islink(os.path.join(directory, name))]
            for leaf in [*links, *sorted(files)]:
                name = os.path.normpath(os.path.join(relative, leaf))
                if name not in self._seen and name not in skipped:
                    self._copy(name, Path(directory, leaf))

    def finish(self) -> Layer:
        self._tar.close()
        self._packer.close()
        self._sink.close()  # a compressor leaves its target open
        digest = f"sha256:{self._sink.hash.hexdigest()}"
        path = self._directory / digest.replace(":", "-")
        self._partial.replace(path)
        return Layer(
            path=path,
            digest=digest,
            diff_id=f"sha256:{self._plain.hash.hexdigest()}",
            size=self._sink.written,
            media_type=self._compression.media_type,
        )

    def _copy(self, name: str, source: Path) -> None:
        status = source.lstat()
        if stat.S_ISLNK(status.st_mode):
            self.symlink(name, os.readlink(source))
        elif stat.S_ISREG(status.st_mode):
            self.file(name, source, stat.S_IMODE(status.st_mode))

    def _link(self, path: str, kind: bytes, target: str) -> None:
        name = path.strip("/")
        self._parent(name)
        entry = _entry(name, kind, 0o777, 0, 0)
        entry.linkname = target
        self._add(entry)

    def _parent(self, name: str) -> None:
        self.directory(os.path.dirname(name))

    def _add(self, entry: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
        self._seen.add(entry.name)
        self._tar.addfile(entry, content)


def _entry(name: str, kind: bytes, mode: int, uid: int, gid: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid, entry.mtime = kind, mode, uid, gid, EPOCH
    return entry


class _Hashing:
    """A writable file that hashes and counts what passes through it."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.hash = hashlib.sha256()
        self.written = 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.written += len(data)
        return self._target.write(data)

    def flush(self) -> None:
        self._target.flush()

    def close(self) -> None:
        self._target.close()


def _packer(sink: _Hashing, compression: Compression) -> IO[bytes]:
    target = cast("IO[bytes]", sink)
    if compression is Compression.PLAIN:
        return target
    if compression is Compression.GZIP:
        # No name and a fixed time in the header: the digest depends on the content alone.
        return cast("IO[bytes]", gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=target, mtime=0))
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return cast("IO[bytes]", zstd.ZstdFile(target, "w"))
