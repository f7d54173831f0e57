"""The archive of one container: a tar file made of a directory, and unpacked into one. Knows names, not content."""

from __future__ import annotations

import os
import secrets
import shutil
import tarfile
from pathlib import Path
from typing import Final

from cri.checkpoint.changes import DELETED, DIFF
from cri.errors import InvalidArgument

IMAGES: Final = "checkpoint"
_FILES: Final = frozenset((DIFF, DELETED, "config.dump", "spec.dump", "dump.log", "stats-dump", "bind.mounts"))
#: Members are few: a container has a handful of images for each process.
_MOST_MEMBERS: Final = 200_000


def pack(directory: Path, location: Path) -> None:
    """All of `directory`, readable by nobody else: it holds a process's memory. In one piece or not at all."""
    temporary = location.with_name(f".checkpoint-{secrets.token_hex(8)}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(directory.rglob("*")):
                tar.add(path, str(path.relative_to(directory)), recursive=False)
        os.rename(temporary, location)
    finally:
        temporary.unlink(missing_ok=True)


def unpack(location: Path, directory: Path) -> Path:
    """The images' directory below `directory`. Plain files by names that are known, nothing else of what a tar file may
    hold. Raises InvalidArgument."""
    directory.mkdir(mode=0o700, exist_ok=True)
    images = directory / IMAGES
    images.mkdir(mode=0o700)
    try:
        with tarfile.open(location, "r:*") as tar:
            for count, member in enumerate(tar):
                if count > _MOST_MEMBERS:
                    raise InvalidArgument(str(location), f"has more than {_MOST_MEMBERS} members")
                target = _target(member, directory)
                content = tar.extractfile(member) if target is not None else None
                if target is not None and content is not None:
                    with open(target, "xb", opener=_private) as file:
                        shutil.copyfileobj(content, file, 1 << 20)
    except (tarfile.TarError, EOFError, FileExistsError) as error:
        raise InvalidArgument(str(location), f"is no checkpoint: {error}") from None
    if not any(images.iterdir()):
        raise InvalidArgument(str(location), "is no checkpoint: it holds no images of processes")
    return images


def _target(member: tarfile.TarInfo, directory: Path) -> Path | None:
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if not member.isreg() or ".." in parts:
        return None
    if len(parts) == 2 and parts[0] == IMAGES:
        return directory / IMAGES / parts[1]
    return directory / parts[0] if len(parts) == 1 and parts[0] in _FILES else None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
