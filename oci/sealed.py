"""The running interpreter as a sealed memfd, so that no container can ever overwrite the host's (CVE-2019-5736).

A process that enters a container is, until its execve, this executable with /proc/PID/exe leading to it. Sealed, it is
a private copy that nobody can write. Made once per daemon; the copy costs about 3 ms for a static interpreter.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys

# linux/memfd.h; Python names it from 3.14 on. Nothing but built-in modules is loaded here: the command line does this
# before anything else, in an interpreter that is about to be replaced.
_MFD_EXEC = 0x10
_PT_INTERP = 3


# The loader's place in a bundle (deploy/bundle), relative to bin/.
_LOADER = "/lib/coracle-loader"


def interpreter() -> tuple[str, list[str]]:
    """The file to execute for another interpreter like this one, and its argv up to the interpreter's own arguments.

    The file is what /proc/PID/exe will lead to. A virtual environment's `python` is a link, and its site is not wanted.
    In a bundle it is the bundle's own loader, which is told where libraries and interpreter are: the kernel would take
    the host's loader, where there is one.
    """
    root = os.path.dirname(os.path.dirname(sys.executable))
    loader = root + _LOADER
    if not os.access(loader, os.X_OK):
        path = os.path.realpath(sys.executable)
        return path, [path]
    options = ["--inhibit-cache", "--library-path", f"{root}/lib", "--argv0", sys.executable]
    return loader, [loader, *options, f"{root}/libexec/python3"]


def through_loader(path: str) -> tuple[str, list[str]] | None:
    """The same for the executable at `path`, by its dynamic loader, of which a copy costs a thirtieth; the executable
    is mapped then like a library. None where there is no loader that takes `--argv0` (glibc 2.33).
    """
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    loader = _loader(path)
    if name != "glibc" or tuple(map(int, version.split("."))) < (2, 33) or loader is None:
        return None
    return loader, [loader, "--argv0", path, path]


def _loader(path: str) -> str | None:
    """What the executable's program headers name (elf(5), PT_INTERP)."""
    with open(path, "rb", 0) as file:
        head = file.read(4096)
    if head[:6] != b"\x7fELF\x02\x01":
        return None
    first, size, count = _number(head, 32, 8), _number(head, 54, 2), _number(head, 56, 2)
    for index in range(count):
        entry = first + size * index
        if _number(head, entry, 4) == _PT_INTERP:
            offset, length = _number(head, entry + 8, 8), _number(head, entry + 32, 8)
            return os.fsdecode(head[offset : offset + length].rstrip(b"\0")) or None
    return None


def _number(data: bytes, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], "little")


def seal(path: str) -> int:
    """A sealed, executable, close-on-exec memfd with the content of `path`. OSError where the host forbids it.

    vm.memfd_noexec=2 refuses executable memfds (EACCES); kernels before 6.3 do not know MFD_EXEC and need none.
    """
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        memfd = os.memfd_create("coracle", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        memfd = os.memfd_create("coracle", flags)
    try:
        _copy(path, memfd)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(memfd)
        raise
    return memfd


def _copy(path: str, target: int) -> None:
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(source).st_size
        offset = 0
        while offset < size:
            sent = os.sendfile(target, source, offset, size - offset)
            if sent == 0:
                raise OSError(errno.EIO, "file shrank while it was copied", path)
            offset += sent
    finally:
        os.close(source)
