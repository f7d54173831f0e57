"""Hooks: programs the config names, run at fixed points of the lifecycle (config.md, "POSIX-platform Hooks").

A hook gets the container's state as JSON on stdin and the environment the config gives it, else the runtime's: never
the container's, in which an image has a say.
"""

from __future__ import annotations

import os
import select

from oci.errors import HookError
from oci.json_text import dumps
from oci.signals import signal
from oci.spec import VERSION, Hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)


def state_document(container_id: str, status: str, pid: int, bundle: str, annotations: Mapping[str, str]) -> bytes:
    """The state of the container (runtime.md, "State")."""
    document: dict[str, object] = {"ociVersion": VERSION, "id": container_id, "status": status, "bundle": bundle}
    if pid:
        document["pid"] = pid
    if annotations:
        document["annotations"] = dict(annotations)
    return dumps(document).encode()


def run_hooks(kind: str, hooks: Sequence[Hook], state: bytes, outputs: Sequence[tuple[int, str]] = ()) -> None:
    """All hooks of one kind in order; the first failure ends it with `HookError`. `outputs` are (descriptor, path of a
    file to append to) for their stdout and stderr, which are the runtime's without."""
    for index, hook in enumerate(hooks):
        _run(kind, index, hook, state, outputs)


def _run(kind: str, index: int, hook: Hook, state: bytes, outputs: Sequence[tuple[int, str]]) -> None:
    reader, writer = os.pipe()
    try:
        pid = _spawn(kind, hook, reader, outputs)
    except OSError as error:
        os.close(writer)
        raise HookError(kind, index, hook.path, f"cannot be executed: {os.strerror(error.errno or 0).lower()}")
    finally:
        os.close(reader)
    pidfd = os.pidfd_open(pid)
    try:
        _feed(writer, state)
        status = _wait(pid, pidfd, hook.timeout)
    finally:
        os.close(pidfd)
    if status is None:
        raise HookError(kind, index, hook.path, f"timed out after {hook.timeout} s")
    if status:
        raise HookError(kind, index, hook.path, f"failed with exit code {status}")


def _spawn(kind: str, hook: Hook, stdin: int, outputs: Sequence[tuple[int, str]]) -> int:
    # Without `env` the runtime's own, as every runtime has it; a hook inside of the container has no claim to that.
    if hook.env is not None:
        env = dict(entry.partition("=")[::2] for entry in hook.env)
    else:
        env = {} if kind == "startContainer" else dict(os.environ)
    return os.posix_spawn(
        hook.path,
        hook.args or (hook.path,),
        env,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            *((os.POSIX_SPAWN_OPEN, number, path, _APPEND, 0o644) for number, path in outputs),
        ],
        setsigmask=(),
        setsigdef=_IGNORED_BY_PYTHON,
    )


def _feed(writer: int, state: bytes) -> None:
    # A state fits a pipe, so a hook that never reads cannot hold us up.
    os.set_blocking(writer, False)
    try:
        os.write(writer, state)
    except (BrokenPipeError, BlockingIOError):
        pass  # a hook need not be interested
    finally:
        os.close(writer)


def _wait(pid: int, pidfd: int, timeout: int | None) -> int | None:
    """The exit code (128 + signal for a killed one), or None when the time is over and the hook was killed."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ready = poll.poll(None if timeout is None else timeout * 1000)
    if not ready:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not ready:
        return None
    return 128 - code if code < 0 else code
