"""Containers of the command line on disk, so that create, start and delete may be different processes.

    <root>/                    0700
        <id>/                  0711, made exclusively: whoever makes it owns the id
            state.json         what is below as `ContainerState`, replaced atomically
            config.json        the config as it was at create; later changes of the bundle have no effect
            notify/            for a container that was given NOTIFY_SOCKET: its socket
            start.sock         init takes its start order here; there until the container is started

The status is not stored but seen: is the init process alive, is start.sock there, is the cgroup frozen. A pid counts as
the container's only with the start time that was recorded with it, since pids are used again.
"""

from __future__ import annotations

import os

from oci import json_text
from oci.errors import ContainerExists, ContainerNotFound, StateError
from oci.values import as_dict, fresh, frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

_ID_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_LONGEST_ID: Final = 1024
START_SOCKET: Final = "start.sock"


@frozen
class ContainerState:
    """`created` in RFC 3339; `process_start` is field 22 of /proc/PID/stat; `resctrl` are directories to remove."""

    container_id: str
    pid: int
    process_start: int
    bundle: str
    rootfs: str
    created: str
    cgroup_path: str | None
    cgroup_manager: str
    annotations: dict[str, str] = fresh(default_factory=dict)
    resctrl: tuple[str, ...] = ()


# crun's: files that take what hooks of the runtime's namespaces print.
HOOK_OUTPUTS: Final = {"run.oci.hooks.stdout": 1, "run.oci.hooks.stderr": 2}


def hook_outputs(annotations: Mapping[str, str]) -> tuple[tuple[int, str], ...]:
    """(descriptor, path) of each that the config names."""
    return tuple((number, annotations[name]) for name, number in HOOK_OUTPUTS.items() if annotations.get(name))


class StateDirectory:
    def __init__(self, root: str) -> None:
        self._root = root

    def claim(self, container_id: str) -> str:
        """Make the container's directory. Raises ContainerExists, or StateError when the id is unusable."""
        path = self.path(container_id)
        os.makedirs(self._root, mode=0o700, exist_ok=True)
        try:
            os.mkdir(path, 0o711)
        except FileExistsError:
            raise ContainerExists(container_id)
        return path

    def path(self, container_id: str) -> str:
        if (
            not (0 < len(container_id) <= _LONGEST_ID and _ID_CHARACTERS.issuperset(container_id))
            or container_id[0] == "."
        ):
            raise StateError(
                container_id, "invalid character in the container ID: letters, digits and _+-. only, no dot first"
            )
        return f"{self._root}/{container_id}"

    def write(self, state: ContainerState, config: bytes) -> None:
        directory = self.path(state.container_id)
        _replace(f"{directory}/config.json", config)
        _replace(f"{directory}/state.json", json_text.dumps(as_dict(state)).encode())

    def load(self, container_id: str) -> ContainerState:
        try:
            with open(f"{self.path(container_id)}/state.json", "rb") as file:
                document: dict[str, Any] = json_text.loads(file.read())
        except FileNotFoundError:
            raise ContainerNotFound(container_id)
        try:
            return ContainerState(**document)
        except TypeError as error:
            raise StateError(container_id, f"has a state.json of another version: {error}")

    def config(self, container_id: str) -> bytes:
        with open(f"{self.path(container_id)}/config.json", "rb") as file:
            return file.read()

    def ids(self) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(self._root)))
        except FileNotFoundError:
            return ()

    def status(self, state: ContainerState) -> str:
        """ "created", "running" or "stopped" (runtime.md, "State"); a frozen one is the cgroup driver's to tell."""
        if process_start(state.pid) != state.process_start:
            return "stopped"
        waiting = os.path.exists(f"{self.path(state.container_id)}/{START_SOCKET}")
        return "created" if waiting else "running"

    def started(self, container_id: str) -> None:
        try:
            os.unlink(f"{self.path(container_id)}/{START_SOCKET}")
        except FileNotFoundError:
            pass

    def remove(self, container_id: str) -> None:
        """Its few files and the directory; what is gone already is fine."""
        directory = self.path(container_id)
        try:
            _empty(directory)
            os.rmdir(directory)
        except FileNotFoundError:
            return


def _empty(directory: str) -> None:
    for entry in tuple(os.scandir(directory)):
        if entry.is_dir(follow_symlinks=False):
            _empty(entry.path)
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)


def process_start(pid: int) -> int | None:
    """Start time of a living process; None when there is none, or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            content = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything.
    fields = content[content.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _replace(path: str, content: bytes) -> None:
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    os.rename(temporary, path)
