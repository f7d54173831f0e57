"""Finding and executing the program, in the child, after the pivot and as the container's user."""

from __future__ import annotations

import errno
import os
import stat

from oci import syscalls as sc
from oci.init import paths
from oci.init.context import Context
from oci.plan import operations as op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_DEFAULT_PATH: Final = "/bin:/usr/bin"
_PASSWD_LIMIT: Final = 1 << 20
_WORDS: Final = {
    errno.ENOENT: "no such file or directory",
    errno.EACCES: "permission denied",
    errno.ENOEXEC: "exec format error",
    errno.EISDIR: "is a directory",
}


class ProgramError(OSError):
    """Its text is complete; users know these sentences from other runtimes and search for them."""


def find_program(step: op.FindProgram, context: Context) -> None:
    try:
        _find(step.name, context)
    except ProgramError as error:
        if not step.early or error.errno == errno.ENOENT:
            raise


def _find(name: str, context: Context) -> None:
    if "/" in name:
        context.program = _check(name)
        return
    search = next((entry[5:] for entry in context.env if entry.startswith("PATH=")), _DEFAULT_PATH)
    forbidden = False
    for directory in search.split(":"):
        candidate = f"{directory or '.'}/{name}"
        try:
            context.program = _check(candidate)
            return
        except ProgramError as error:
            forbidden = forbidden or error.errno == errno.EACCES
    if forbidden:
        raise ProgramError(errno.EACCES, _WORDS[errno.EACCES])
    raise ProgramError(errno.ENOENT, "executable file not found in $PATH")


def execute(step: op.Execute, context: Context) -> None:
    args = [os.fsencode(argument) for argument in context.args]
    env = [os.fsencode(entry) for entry in context.env]
    try:
        sc.execve(context.program, args, env)
    except OSError as error:
        number = error.errno or 0
        words = _WORDS.get(number, os.strerror(number).lower())
        if number == errno.ENOENT:
            # The file was there a moment ago: what is missing is the interpreter its first line or its header names.
            words += " (its interpreter is missing)"
        raise ProgramError(number, words)


def set_default_home(step: op.SetDefaultHome, context: Context) -> None:
    context.env.append(f"HOME={_home(context, step.uid)}")


def _check(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        number = error.errno or 0
        if number in (errno.ENOENT, errno.ENOTDIR):
            raise ProgramError(errno.ENOENT, f"stat {path}: {_WORDS[errno.ENOENT]}")
        raise ProgramError(number, _WORDS.get(number, os.strerror(number).lower()))
    if stat.S_ISDIR(mode):
        raise ProgramError(errno.EISDIR, _WORDS[errno.EISDIR])
    # Real and effective ids are the same by now; faccessat2, which asks for the effective ones, is newer than many a
    # filter that is already around us.
    if not os.access(path, os.X_OK):
        raise ProgramError(errno.EACCES, _WORDS[errno.EACCES])
    return path


def _home(context: Context, uid: int) -> str:
    """From the root filesystem's own /etc/passwd, which nobody vouches for: bounded, and no control characters.

    Opened as a path first: to open a device that stands in its place would already have an effect.
    """
    try:
        place = paths.open_in_root(context.root, "/etc/passwd")
    except OSError:
        return "/"
    if not stat.S_ISREG(os.fstat(place).st_mode):
        return "/"
    fd = os.open(f"self/fd/{place}", os.O_RDONLY, dir_fd=context.proc)
    content = os.read(fd, _PASSWD_LIMIT)
    os.close(fd)
    os.close(place)
    for line in content.decode(errors="replace").split("\n"):
        fields = line.split(":")
        if len(fields) >= 6 and fields[2] == str(uid) and fields[5].startswith("/") and fields[5].isprintable():
            return fields[5]
    return "/"
