"""The door to the host's file system, below a directory where it is mounted (`/host` in the installer's pod).

Every change goes through one of the verbs below. Each is either atomic (a temporary name, fsync, rename, fsync of the
directory) or repeatable, and each calls `step` before and after: a test's hook kills the process there.

Paths are the host's own and absolute. Symbolic links in them are resolved below the root, never by the kernel, which
would follow an absolute one out of the mount.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Step = Callable[[str], None]

_MOST_LINKS: Final = 40


def unwatched(step: str) -> None:
    """The hook of every run that is no test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0


class Host:
    def __init__(self, root: Path = Path("/"), step: Step = unwatched) -> None:
        self.root = root
        self.step = step

    # -- looking ----------------------------------------------------------------------------------------------------

    def locate(self, path: str, *, follow: bool = False) -> Path:
        """Where `path` lies in this process's file system. The last component is followed only if asked."""
        names = [name for name in path.split("/") if name not in ("", ".")]
        done: list[str] = []
        links = 0
        while names:
            name = names.pop(0)
            if name == "..":
                done = done[:-1]
                continue
            here = self.root.joinpath(*done, name)
            if (names or follow) and here.is_symlink():
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(f"{path}: too many symbolic links")
                target = os.readlink(here)
                done = [] if target.startswith("/") else done
                names = [part for part in target.split("/") if part not in ("", ".")] + names
                continue
            done.append(name)
        return self.root.joinpath(*done)

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.locate(path))

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, links followed; None when there is none."""
        try:
            return self.locate(path, follow=True).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def text(self, path: str) -> str:
        """The text of a file, empty when there is none."""
        return (self.read(path) or b"").decode(errors="replace")

    def names(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(self.locate(path, follow=True)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    # -- changing ---------------------------------------------------------------------------------------------------

    def write(self, path: str, content: bytes, owner: Owner = Owner()) -> None:
        """Replaces the file, whole or not at all, and lasting. Its directory must exist."""
        target = self.locate(path)
        partial = partial_name(target)
        with self._step(f"write {partial.name}"), open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), owner.mode)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            if owner.mtime_ns:
                os.utime(partial, ns=(owner.mtime_ns, owner.mtime_ns))
            os.fsync(file.fileno())
        with self._step(f"rename to {path}"):
            os.replace(partial, target)
            _sync_directory(target.parent)

    def append(self, path: str, line: bytes) -> None:
        """One line, lasting when this returns. A kill leaves a part of it, or all of it."""
        with self._step(f"append to {path}"), open(self.locate(path), "ab") as file:
            half = len(line) // 2
            file.write(line[:half])
            file.flush()
            self.step(f"in the middle of a line of {path}")
            file.write(line[half:])
            file.flush()
            os.fsync(file.fileno())

    def truncate(self, path: str, size: int) -> None:
        with self._step(f"truncate {path}"), open(self.locate(path), "r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def remove(self, path: str) -> None:
        """A file or a link; what a killed `write` or `link` left beside it goes too. No error when there is none."""
        target = self.locate(path)
        for each in (partial_name(target), target):
            with self._step(f"remove {each.name}"):
                each.unlink(missing_ok=True)
        if target.parent.exists():
            _sync_directory(target.parent)

    def remove_partial(self, path: str) -> None:
        """What a killed `write` or `link` left beside `path`."""
        partial = partial_name(self.locate(path))
        with self._step(f"remove {partial.name}"):
            partial.unlink(missing_ok=True)

    def link(self, path: str, to: str) -> None:
        """A symbolic link, replacing what was there."""
        place = self.locate(path)
        partial = partial_name(place)
        with self._step(f"link {partial.name}"):
            partial.unlink(missing_ok=True)
            os.symlink(to, partial)
        with self._step(f"rename to {path}"):
            os.replace(partial, place)
            _sync_directory(place.parent)

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """One directory, whose parent exists."""
        with self._step(f"mkdir {path}"):
            target = self.locate(path)
            target.mkdir(mode=mode, exist_ok=True)
            _sync_directory(target.parent)

    def remove_directory(self, path: str) -> bool:
        """Whether it is gone: a directory that holds something stays."""
        with self._step(f"rmdir {path}"):
            try:
                self.locate(path).rmdir()
            except FileNotFoundError:
                return True
            except OSError:
                return False
            _sync_directory(self.locate(path).parent)
            return True

    def copy_tree(self, source: Path, path: str) -> None:
        """`source` under the name `path`, which appears when all of it is there and synced."""
        target = self.locate(path)
        partial = partial_name(target)
        with self._step(f"remove {partial.name}"):
            shutil.rmtree(partial, ignore_errors=True)
        with self._step(f"copy to {partial.name}"):
            shutil.copytree(source, partial, symlinks=True, copy_function=self._copy_file)
        with self._step(f"rename to {path}"):
            os.sync()
            os.rename(partial, target)
            _sync_directory(target.parent)

    def remove_tree(self, path: str) -> None:
        """By a rename first, so that no half of it stands under its name."""
        target = self.locate(path)
        partial = partial_name(target)
        with self._step(f"rename {path}"):
            if os.path.lexists(target):
                shutil.rmtree(partial, ignore_errors=True)
                os.rename(target, partial)
        with self._step(f"remove {partial.name}"):
            if partial.exists():
                shutil.rmtree(partial)
        if target.parent.exists():
            _sync_directory(target.parent)

    def _copy_file(self, source: str, target: str) -> str:
        self.step(f"copy {os.path.basename(source)}")
        return shutil.copy2(source, target)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        self.step(f"before: {what}")
        yield
        self.step(f"after: {what}")


def partial_name(target: Path) -> Path:
    """The temporary name of `target`: always the same, so that the next run finds what a killed one left."""
    return target.with_name(f".{target.name}.coracle-partial")


def owner_of(status: os.stat_result) -> Owner:
    return Owner(mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid, mtime_ns=status.st_mtime_ns)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
