"""Reading and writing the small files of cgroupfs. Owns the system calls and the words of their errors, no meaning.

Cost rules: one open and one read a file (a control file is produced whole by the first read when the buffer is large
enough), paths are plain strings. The drivers take an instance, so that tests can stand in for the kernel: on a real
cgroupfs a mkdir makes the control files, on a fake tree a subclass of `ControlFiles` does.
"""

from __future__ import annotations

import errno
import os
import time

from oci.cgroups.limits import Setting
from oci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

_ONE_READ: Final = 32 * 1024
_REMOVE_DELAYS: Final = tuple(0.0005 * 2**step for step in range(10))  # half a second together


class ControlFiles:
    def read(self, path: str) -> bytes:
        """The contents of a control file that its first read gives whole."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(fd, _ONE_READ)
            finally:
                os.close(fd)
        except OSError as error:
            raise failure(path, "cannot be read", error)

    def open(self, path: str) -> int:
        """A descriptor for `read_open`, for the caller to close."""
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise failure(path, "cannot be read", error)

    def read_open(self, fd: int) -> bytes:
        """What `read` gives, as it is now, for a third of the price."""
        try:
            return os.pread(fd, _ONE_READ, 0)
        except OSError as error:
            raise failure(os.readlink(f"/proc/self/fd/{fd}"), "cannot be read", error)

    def read_list(self, path: str) -> bytes:
        """The contents of a file of many records (cgroup.procs), which the kernel gives in pages."""
        parts = []
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while part := os.read(fd, _ONE_READ):
                    parts.append(part)
            finally:
                os.close(fd)
        except OSError as error:
            raise failure(path, "cannot be read", error)
        return b"".join(parts)

    def read_if_there(self, path: str) -> bytes | None:
        """None when there is no such file, or when the kernel does not support what it stands for."""
        try:
            return self.read(path)
        except CgroupError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                return None
            raise

    def write(self, path: str, value: str) -> None:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise failure(path, f"cannot be set to {value!r}", error)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def make(self, path: str) -> bool:
        """Make one directory; False when it is there already."""
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            return False
        except OSError as error:
            raise failure(path, "cannot be made", error)
        return True

    def children(self, path: str) -> list[str]:
        """Paths of the cgroups directly below; empty when the cgroup itself is gone."""
        try:
            with os.scandir(path) as entries:
                return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return []
            raise failure(path, "cannot be listed", error)

    def unmake(self, path: str) -> None:
        """Remove one directory; gone already is fine."""
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise failure(path, "cannot be removed", error)


def failure(path: str, problem: str, error: OSError) -> CgroupError:
    return CgroupError(path, f"{problem}: {error.strerror}", error.errno or 0)


def make_all(files: ControlFiles, path: str) -> list[str]:
    """Make `path` and what is missing above it; returns what was made, topmost first.

    The common case, a parent that the kubelet made, is one mkdir.
    """
    try:
        return [path] if files.make(path) else []
    except CgroupError as error:
        if error.errno != errno.ENOENT:
            raise
    made = make_all(files, os.path.dirname(path))
    return [*made, path] if files.make(path) else made


def remove_tree(files: ControlFiles, path: str, pids: Callable[[], tuple[int, ...]]) -> None:
    """Remove `path` and every cgroup below it.

    A process that was just killed counts as a member for a moment, so EBUSY is waited for, half a second at most.
    """
    for child in files.children(path):
        remove_tree(files, child, pids)
    for delay in _REMOVE_DELAYS:
        try:
            files.unmake(path)
            return
        except CgroupError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
        time.sleep(delay)
    members = pids()
    raise CgroupError(path, f"cannot be removed: still holds processes {list(members[:8])}", errno.EBUSY)


def remove_empty(files: ControlFiles, path: str) -> bool:
    """Whether it is gone: a cgroup in use is left as it is."""
    if files.exists(path):
        try:
            files.unmake(path)
        except CgroupError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            return False
    return True


def process_tree(files: ControlFiles, path: str) -> tuple[int, ...]:
    """Ids of all processes in `path` and below; empty when it is gone."""
    try:
        members = tuple(map(int, files.read_list(f"{path}/cgroup.procs").split()))
    except CgroupError as error:
        if error.errno == errno.EOPNOTSUPP:  # a threaded cgroup of v2 lists its processes at its domain only
            members = ()
        elif error.errno in (errno.ENOENT, errno.ENODEV):
            return ()
        else:
            raise
    for child in files.children(path):
        members += process_tree(files, child)
    return members


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again, at first after 0.1 ms; False when `seconds` passed."""
    delay = 0.0001
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(delay)
        delay = min(delay * 2, 0.01)
    return True


def apply_setting(files: ControlFiles, directory: str, setting: Setting) -> None:
    """Write the first of the setting's files that exists."""
    for file, value in setting.choices:
        try:
            files.write(f"{directory}/{file}", value)
            return
        except CgroupError as error:
            # EOPNOTSUPP: the file is a shell that Linux kept for a feature it removed.
            absent = error.errno == errno.ENOENT or (setting.optional and error.errno in (errno.EOPNOTSUPP, 524))
            if not absent:
                raise
    if not setting.optional:
        names = " or ".join(file for file, _ in setting.choices)
        raise CgroupError(directory, f"has no {names}: no such file or directory (this kernel lacks controller "
                          f"{setting.controller} or this setting of it)", errno.ENOENT)  # fmt: skip


def send(pids: Iterable[int], signal: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal)
        except ProcessLookupError:  # gone in time
            pass
