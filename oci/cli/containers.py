"""What several verbs share and what costs little to load: the engine is not needed for it."""

from __future__ import annotations

import os

from oci.cli.options import Parsed, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cgroups import Cgroup
    from oci.spec import Spec
    from oci.state import ContainerState


def parse_config(content: bytes, path: str) -> Spec:
    from oci.errors import SpecError
    from oci.json_text import loads
    from oci.spec import Spec

    try:
        document = loads(content)
    except (ValueError, RecursionError) as error:
        raise SpecError("", f"{path}: {error}")
    return Spec.from_json(document)


def open_descriptors(count: int) -> tuple[int, ...]:
    """Those of the `count` descriptors from 3 on that our caller left open; to be asked before we open any."""
    return tuple(fd for fd in range(3, 3 + count) if _is_open(fd))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def send_console(path: str, master: int) -> None:
    """What `--console-socket` expects: one message, one descriptor."""
    _send(path, b"/dev/ptmx", master)


def _send(path: str, message: bytes, fd: int) -> None:
    from oci import sockets

    with sockets.closing_socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as receiver:
        try:
            receiver.connect(path)
        except OSError as error:
            raise OSError(error.errno, f"nobody takes descriptors there: {error.strerror}", path)
        sockets.send(receiver, message, fd)


def tell_pid(parsed: Parsed, pid: int, pidfd: int) -> None:
    """To whoever asked for it. A file in one piece: a reader never sees half a number."""
    if path := parsed.text("pidfd-socket"):
        _send(path, b"pidfd", pidfd)
    if path := parsed.text("pid-file"):
        temporary = f"{path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(str(pid))
        os.rename(temporary, path)


def open_cgroup(state: ContainerState) -> Cgroup | None:
    if state.cgroup_path is None:
        return None
    from oci import cgroups

    return cgroups.detect(state.cgroup_manager).open(state.cgroup_path)


def only_word(parsed: Parsed) -> str:
    if len(parsed.words) != 1:
        raise UsageError("needs exactly one container id")
    return parsed.words[0]
