"""One file from a directory, with the same bytes for the same content: sorted, owned by root, all of one time."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import stat
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, Final, cast

from deploy.image.layer import EPOCH

_ZSTD_LEVEL: Final = 19


class Packing(Enum):
    """The value is the suffix of the archive's name."""

    GZIP = "tar.gz"
    XZ = "tar.xz"
    ZSTD = "tar.zst"


def source_date() -> int:
    """Seconds since 1970 for everything in an archive: SOURCE_DATE_EPOCH, else a fixed moment."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))


def write_archive(directory: Path, target: Path, packing: Packing, date: int) -> str:
    """Writes `directory`, under its own name, to `target`; answers the SHA-256 of the file."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with (
            _packed(partial, packing) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as archive,
        ):
            for path in (directory, *sorted(directory.rglob("*"))):
                _add(archive, path, str(path.relative_to(directory.parent)), date)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, path: Path, name: str, date: int) -> None:
    status = path.lstat()
    entry = tarfile.TarInfo(name)
    entry.mtime, entry.mode = date, stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
        archive.addfile(entry)
    elif stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
    else:
        entry.size = status.st_size
        with path.open("rb") as content:
            archive.addfile(entry, content)


@contextmanager
def _packed(target: Path, packing: Packing) -> Iterator[IO[bytes]]:
    if packing is Packing.XZ:
        with lzma.open(target, "wb", preset=9) as stream:
            yield cast("IO[bytes]", stream)
    elif packing is Packing.GZIP:
        with target.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped:
            yield cast("IO[bytes]", zipped)
    else:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        with zstd.ZstdFile(target, "w", level=_ZSTD_LEVEL) as packed:
            yield cast("IO[bytes]", packed)
