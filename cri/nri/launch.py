"""Plugins that the daemon starts itself: executables called `<two digits>-<name>` in one directory.

    <plugin path>/10-example              started with a connected socket as descriptor 3
    <config path>/10-example.conf         its configuration, or else
    <config path>/example.conf

They end with the daemon: it says Shutdown, then sends SIGTERM, then SIGKILL.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Final

from cri.nri.errors import RegistrationFailed
from cri.nri.plugin import check_name
from oci.values import frozen

_SOCKET: Final = 3
_GRACE_S: Final = 2.0


@frozen
class Installed:
    path: Path
    index: str
    name: str
    config: str


def installed(plugin_path: Path, config_path: Path) -> list[Installed]:
    """In the order in which they are called. Files that are none are logged and left alone."""
    log = logging.getLogger("cri.nri")
    found = []
    try:
        paths = sorted(plugin_path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    for path in paths:
        if not path.is_file() or not os.access(path, os.X_OK):
            continue
        index, _, name = path.name.partition("-")
        try:
            check_name(index, name)
            found.append(Installed(path=path, index=index, name=name, config=_config(config_path, path.name, name)))
        except (RegistrationFailed, OSError, UnicodeDecodeError) as error:
            log.error("NRI plugin %s is not started: %s", path, error)
    return found


def _config(directory: Path, *names: str) -> str:
    for name in names:
        try:
            return (directory / f"{name}.conf").read_text()
        except FileNotFoundError:
            continue
    return ""


class Process:
    """A started plugin. `socket` is our end; whoever takes it into use also closes it."""

    def __init__(self, plugin: Installed) -> None:
        """Raises OSError."""
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        environment = {
            "NRI_PLUGIN_NAME": plugin.name,
            "NRI_PLUGIN_IDX": plugin.index,
            "NRI_PLUGIN_SOCKET": str(_SOCKET),
        }
        try:
            self._pid = os.posix_spawn(
                plugin.path,
                [str(plugin.path)],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET),
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()),
                ],
                setpgroup=0,
            )
        except OSError:
            self.socket.close()
            raise
        finally:
            theirs.close()
        self._pidfd = os.pidfd_open(self._pid)
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    async def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._ended.is_set():
                return
            signal.pidfd_send_signal(self._pidfd, number)
            try:
                async with asyncio.timeout(_GRACE_S):
                    await self._ended.wait()
            except TimeoutError:
                continue

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.waitpid(self._pid, 0)
        os.close(self._pidfd)
        self._ended.set()


def _inheritable() -> list[int]:
    """Descriptors above the plugin's socket that it would get too: what the daemon opens is close-on-exec, what it was
    started with need not be."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            if int(entry) > _SOCKET and os.get_inheritable(int(entry)):
                found.append(int(entry))
        except OSError:
            pass  # the one by which the directory was read
    return found
