"""The daemon as a process: locks, socket, signals, and the order in which things start and stop.

    lock the roots → check the host → open the daemon (recovery) → metrics → socket → READY=1
    SIGTERM, SIGINT: no new calls, a grace for those under way, close the daemon; containers run on
    SIGHUP: read the configuration again     SIGUSR1: stacks of all threads to standard error
    SIGABRT (systemd's watchdog), a crash: the stacks, then the end

Owns no policy: what is served is in `cri.runtime_service` and `cri.image_service`.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from cri import systemd, watchdog
from cri.config import KEYS, ConfigError, Settings
from cri.config.checks import split_host_and_port
from cri.config.schema import value_at
from cri.errors import FailedPrecondition
from cri.log_lines import Log, fields
from cri.metrics import Metrics
from cri.metrics_server import MetricsServer
from cri.root_lock import locked
from cri.rpc import Handler, Wrapper
from cri.tracing import open_tracing
from cri.version import VERSION

_log: Final = logging.getLogger("cri.server")

#: The kubelet sends at most 16 MiB; lists that we send have no limit of ours.
LARGEST_REQUEST: Final = 32 << 20
#: For calls under way at the end. The supervisor's patience (systemd: 90 s) is longer.
GRACE_S: Final = 10.0
_SOCKET_MODE: Final = 0o660
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", LARGEST_REQUEST),
    ("grpc.max_send_message_length", -1),
    # Pings that measure a network's bandwidth: on a unix socket they only wake both ends up.
    ("grpc.http2.bdp_probe", 0),
)


class Closeable(Protocol):
    async def close(self) -> None: ...

    async def health(self) -> str:
        """What is wrong with it; "" when nothing is."""


D = TypeVar("D", bound=Closeable)


@dataclass(frozen=True, kw_only=True)
class Application(Generic[D]):
    """What to serve: how the daemon is opened, and the handlers of each service."""

    open: Callable[[Settings, Metrics], Awaitable[D]]
    services: tuple[tuple[ServiceDescriptor, Mapping[str, Handler[D]]], ...]


async def serve(
    settings: Settings,
    application: Application[D],
    log: Log,
    *,
    reload: Callable[[], Settings],
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT. `reload` reads the configuration again (it may raise ConfigError).

    Raises FailedPrecondition when another daemon has the roots or the socket, and what `application.open` raises.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(settings.root, settings.runroot))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        reloader = _Reloader(settings, log, reload)
        loop.add_signal_handler(signal.SIGHUP, reloader.reload)
        faulthandler.register(signal.SIGUSR1)
        if not faulthandler.is_enabled():
            faulthandler.enable()
        metrics = Metrics()
        tracing = open_tracing(settings.tracing, VERSION)
        stack.callback(tracing.close)
        if settings.metrics_address:
            host, port = split_host_and_port(settings.metrics_address)
            stack.callback(_metrics_server(host, port, metrics).close)
        systemd.notify("STATUS=recovering pods")
        daemon = await application.open(settings, metrics)
        stack.push_async_callback(daemon.close)
        wrapper = Wrapper(daemon, metrics, tracing)
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(
            tuple(wrapper.service(service, handlers) for service, handlers in application.services)
        )
        bind(server, settings.socket_path)
        await server.start()
        stack.push_async_callback(server.stop, GRACE_S)
        # What exists now stays: the collector need not look at it again, and pages shared by forks stay shared.
        gc.collect()
        gc.freeze()
        _log.info("serving", extra=fields(listen=settings.listen, version=VERSION, pid=os.getpid()))
        systemd.notify(f"READY=1\nSTATUS=serving {settings.listen}")
        if (every := watchdog.interval(os.environ)) is not None:
            watching = asyncio.ensure_future(watchdog.watch(daemon.health, every))
            stack.callback(watching.cancel)
        on_ready()
        await stop.wait()
        systemd.notify("STOPPING=1\nSTATUS=ending calls under way; pods run on")
        _log.info("stopping", extra=fields(grace_s=GRACE_S))


def bind(server: grpc.aio.Server, path: Path) -> None:
    """Listen on `path`, for root and its group. A stale socket goes; that nobody answers there was checked before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        path.unlink()
    # The socket appears with its final mode: no moment at which others could connect.
    previous = os.umask(0o777 & ~_SOCKET_MODE)
    try:
        server.add_insecure_port(f"unix://{path}")
    except RuntimeError as error:
        raise FailedPrecondition(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(previous)
    path.chmod(_SOCKET_MODE)


def _metrics_server(host: str, port: int, metrics: Metrics) -> MetricsServer:
    try:
        return MetricsServer(host, port, metrics.exposition)
    except OSError as error:
        raise FailedPrecondition(f"cannot serve metrics at {host}:{port}: {error.strerror or error}") from error


class _Reloader:
    """SIGHUP: takes over what may change in a running daemon and names what needs a restart; all or nothing."""

    def __init__(self, settings: Settings, log: Log, read: Callable[[], Settings]) -> None:
        self._settings = settings
        self._log = log
        self._read = read

    def reload(self) -> None:
        try:
            wanted = self._read()
        except ConfigError as error:
            _log.error("configuration not reloaded", extra=fields(error=str(error)))
            return
        for key in KEYS:
            old, new = value_at(self._settings, key.path), value_at(wanted, key.path)
            if old != new:
                effect = "now" if key.reloads else "needs a restart"
                _log.info("setting changed", extra=fields(key=key.dotted, old=old, new=new, effect=effect))
        _log.info("configuration read again")
        self._log.change(wanted.log_level, wanted.log_format)
        self._settings = wanted
