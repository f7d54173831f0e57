"""The ways by which plugins come: the socket, and the directory of those that the daemon starts.

Each that comes registers, is configured and synchronized, and only then takes part. How long it may take is limited,
and nobody but those who create pods or containers in that very moment waits for it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from cri.nri.errors import RegistrationFailed
from cri.nri.launch import Installed, Process
from cri.nri.plugin import Plugin, Terms, Update


class Server:
    """`join` synchronizes a configured plugin and takes it into service; it raises RegistrationFailed."""

    def __init__(
        self,
        terms: Terms,
        *,
        join: Callable[[Plugin], Awaitable[None]],
        lost: Callable[[Plugin], None],
        update: Update,
    ) -> None:
        self._terms = terms
        self._join = join
        self._lost = lost
        self._update = update
        self._log = logging.getLogger("cri.nri")
        self._arriving: set[asyncio.Task[None]] = set()
        self._plugins: set[Plugin] = set()
        self._processes: list[Process] = []
        self._listener: asyncio.Server | None = None
        self._path: Path | None = None

    async def listen(self, path: Path) -> None:
        """Raises OSError; EADDRINUSE when another runtime serves the socket."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _unlink_stale(path)
        self._listener = await asyncio.get_running_loop().create_unix_server(self._accept, str(path))
        os.chmod(path, 0o600)
        self._path = path
        self._log.info("NRI plugins may connect to %s", path)

    async def start(self, plugins: list[Installed]) -> None:
        """Start the installed plugins, all at once; returns when each is in service or has failed."""
        await asyncio.gather(*(self._start(installed) for installed in plugins))

    async def close(self) -> None:
        """Plugins are told; those that the daemon started end."""
        if self._listener is not None:
            self._listener.close()
        for task in self._arriving:
            task.cancel()
        await asyncio.gather(*(plugin.shut_down() for plugin in list(self._plugins)))
        await asyncio.gather(*(process.stop() for process in self._processes))
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _accept(self) -> asyncio.Protocol:
        plugin = self._new()
        task = asyncio.ensure_future(self._welcome(plugin))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        return plugin.connection

    async def _start(self, installed: Installed) -> None:
        try:
            process = Process(installed)
        except OSError as error:
            self._log.error("NRI plugin %s could not be started: %s", installed.path, error)
            return
        plugin = self._new(index=installed.index, name=installed.name)
        self._processes.append(process)
        await asyncio.get_running_loop().create_unix_connection(lambda: plugin.connection, sock=process.socket)
        await self._welcome(plugin, installed.config)
        if plugin.connection.lost:
            self._processes.remove(process)
            await process.stop()

    def _new(self, *, index: str = "", name: str = "") -> Plugin:
        plugin = Plugin(self._terms, self._update, self._gone, index=index, name=name)
        self._plugins.add(plugin)
        return plugin

    async def _welcome(self, plugin: Plugin, config: str = "") -> None:
        try:
            await plugin.enter(config)
            await self._join(plugin)
        except RegistrationFailed as error:
            self._log.error("NRI: a plugin is not taken into service: %s", error)

    def _gone(self, plugin: Plugin) -> None:
        self._plugins.discard(plugin)
        self._lost(plugin)


def _unlink_stale(path: Path) -> None:
    """Remove a socket that nobody listens at any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "another runtime serves it", str(path))
