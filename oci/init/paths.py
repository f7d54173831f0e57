"""Every path below a root filesystem that we do not trust, resolved by descriptor.

An image decides what its symlinks say, and another container of the pod may change them while we look. So the kernel
resolves (openat2 with RESOLVE_IN_ROOT: absolute links and `..` stay inside), the result is a descriptor, and all that
follows works on the descriptor. Nothing here follows a link in the last component unless it says so.
"""

from __future__ import annotations

import errno
import os
import stat

from oci import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_IN_ROOT: Final = sc.RESOLVE_IN_ROOT | sc.RESOLVE_NO_MAGICLINKS
_STRICT: Final = sc.RESOLVE_BENEATH | sc.RESOLVE_NO_SYMLINKS | sc.RESOLVE_NO_MAGICLINKS
_MAX_LINKS: Final = 40


def open_in_root(root: int, path: str, flags: int = os.O_PATH) -> int:
    """Open an existing path, links resolved inside the root."""
    return sc.openat2(root, path.lstrip("/") or ".", flags, resolve=_IN_ROOT)


def open_without_links(root: int, path: str, flags: int = os.O_PATH) -> int:
    """Open an existing path none of whose components is a link (ELOOP otherwise)."""
    return sc.openat2(root, path.lstrip("/") or ".", flags, resolve=_STRICT)


def make_directories(root: int, path: str, mode: int = 0o755) -> int:
    """Open the directory at `path`, making what is missing; dangling links are followed inside the root."""
    try:
        return open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    parts = _split(path)
    for _ in range(_MAX_LINKS):
        followed = _descend(root, parts, mode)
        if isinstance(followed, int):
            return followed
        parts = followed
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def make_target(root: int, path: str, *, directory: bool, follow: bool = True) -> int:
    """Open the mount point at `path`, making it (and its parents) as a directory or an empty file if it is missing.
    Without `follow` a link in its place is what is mounted on."""
    if directory:
        return make_directories(root, path)
    try:
        return open_in_root(root, path, os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW)
    except FileNotFoundError:
        pass
    parent, name = split_last(path)
    above = make_directories(root, parent)
    try:
        try:
            made = os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o644, dir_fd=above)
            os.close(made)
        except FileExistsError:
            # A dangling link: what it points to is made instead, inside the root.
            return make_target(root, _join_link(parent, os.readlink(name, dir_fd=above)), directory=False)
        return os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=above)
    finally:
        os.close(above)


def is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def split_last(path: str) -> tuple[str, str]:
    parts = _split(path)
    return "/".join(parts[:-1]), parts[-1]


def _descend(root: int, parts: list[str], mode: int) -> int | list[str]:
    """Walk down, making directories; at a dangling link stop and return the parts to go on with."""
    here = os.open(".", os.O_PATH | os.O_DIRECTORY, dir_fd=root)
    for index, part in enumerate(parts):
        walked = "/".join(parts[: index + 1])
        try:
            below = open_in_root(root, walked, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            try:
                link = os.readlink(part, dir_fd=here)
            except FileNotFoundError:
                os.mkdir(part, mode, dir_fd=here)
                below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=here)
            else:
                os.close(here)
                return _split(_join_link("/".join(parts[:index]), link)) + parts[index + 1 :]
        os.close(here)
        here = below
    return here


def _join_link(parent: str, link: str) -> str:
    return link if link.startswith("/") else f"{parent}/{link}"


def _split(path: str) -> list[str]:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts
