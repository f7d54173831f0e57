"""The daemon as a process, around a fake daemon: locks, socket, readiness, signals, graceful stop."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cri.api import runtime_pb2 as api
from cri.api import runtime_pb2_grpc as rpcs
from cri.config import ConfigError, Settings
from cri.config.schema import LogFormat, LogLevel, with_derived, with_value
from cri.errors import FailedPrecondition
from cri.log_lines import Log
from cri.metrics import Metrics
from cri.root_lock import locked
from cri.rpc import Call
from cri.server import Application, bind, serve
from cri.systemd import notify

RUNTIME = api.DESCRIPTOR.services_by_name["RuntimeService"]


class FakeDaemon:
    def __init__(self) -> None:
        self.closed = False
        self.entered = asyncio.Event()
        self.proceed = asyncio.Event()

    async def close(self) -> None:
        self.closed = True

    async def health(self) -> str:
        return ""


async def version(daemon: FakeDaemon, request: api.VersionRequest, call: Call) -> api.VersionResponse:
    return api.VersionResponse(version="0.1.0")


async def slow(daemon: FakeDaemon, request: object, call: Call) -> api.StopContainerResponse:
    daemon.entered.set()
    await daemon.proceed.wait()
    assert not daemon.closed
    return api.StopContainerResponse()


class Running:
    """`serve` under way around a FakeDaemon."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.wanted: Settings | ConfigError = settings
        self.daemon = FakeDaemon()
        self.log = Log(LogLevel.WARNING, LogFormat.TEXT)
        self.ready = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Running:
        application: Application[FakeDaemon] = Application(
            open=self._open, services=((RUNTIME, {"Version": version, "StopContainer": slow}),)
        )
        self.task = asyncio.ensure_future(
            serve(self.settings, application, self.log, reload=self._reload, on_ready=self.ready.set)
        )
        waiting = asyncio.ensure_future(self.ready.wait())
        await asyncio.wait([self.task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            waiting.cancel()
            self.log.close()
            self.task.result()
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self.task is not None
        if not self.task.done():
            os.kill(os.getpid(), signal.SIGTERM)
            await self.task
        self.log.close()
        gc.unfreeze()

    async def _open(self, settings: Settings, metrics: Metrics) -> FakeDaemon:
        return self.daemon

    def _reload(self) -> Settings:
        if isinstance(self.wanted, ConfigError):
            raise self.wanted
        return self.wanted

    def stub(self, channel: grpc.aio.Channel) -> Any:
        return rpcs.RuntimeServiceStub(channel)


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    return with_derived(Settings(root=tmp_path / "root", runroot=tmp_path / "run"))


async def test_serves_until_sigterm_and_closes_the_daemon(settings: Settings) -> None:
    async with Running(settings) as running:
        async with grpc.aio.insecure_channel(settings.listen) as channel:
            assert (await running.stub(channel).Version(api.VersionRequest())).version == "0.1.0"
        mode = settings.socket_path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660
    assert running.daemon.closed


async def test_a_second_daemon_on_the_same_root_is_refused(settings: Settings, tmp_path: Path) -> None:
    other = with_derived(Settings(root=settings.root, runroot=tmp_path / "elsewhere"))
    async with Running(settings):
        with pytest.raises(FailedPrecondition, match=rf"is in use by another coracle \(process {os.getpid()}\)"):
            await Running(other).__aenter__()


async def test_calls_under_way_end_before_the_daemon_is_closed(settings: Settings) -> None:
    async with Running(settings) as running, grpc.aio.insecure_channel(settings.listen) as channel:
        answer = asyncio.ensure_future(_answer(running.stub(channel).StopContainer(api.StopContainerRequest())))
        await running.daemon.entered.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
        running.daemon.proceed.set()
        assert await answer == api.StopContainerResponse()
        assert running.task is not None
        await running.task
    assert running.daemon.closed


async def test_sighup_changes_what_it_can(settings: Settings) -> None:
    changed = asyncio.Event()
    async with Running(settings) as running:
        running.wanted = with_value(settings, ("log_level",), LogLevel.ERROR)
        change = running.log.change

        def changing(level: LogLevel, form: LogFormat) -> None:
            change(level, form)
            changed.set()

        running.log.change = changing  # type: ignore[method-assign]
        os.kill(os.getpid(), signal.SIGHUP)
        await changed.wait()
        assert not logging.getLogger("cri").isEnabledFor(logging.WARNING)


async def test_sighup_with_a_wrong_configuration_changes_nothing(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Running(settings) as running:
        running.wanted = ConfigError("c.toml", "root", "is wrong")
        os.kill(os.getpid(), signal.SIGHUP)
        async with grpc.aio.insecure_channel(settings.listen) as channel:
            assert (await running.stub(channel).Version(api.VersionRequest())).version == "0.1.0"
    assert 'error="c.toml: root: is wrong"' in capfd.readouterr().err


async def test_a_stale_socket_is_replaced(settings: Settings) -> None:
    settings.socket_path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(settings.socket_path))
    async with Running(settings) as running, grpc.aio.insecure_channel(settings.listen) as channel:
        assert (await running.stub(channel).Version(api.VersionRequest())).version == "0.1.0"


async def test_metrics_are_served(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = with_value(settings, ("metrics_address",), f"127.0.0.1:{port}")
    async with Running(settings):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert b"container_runtime_coracle_operations_total" in answer


async def test_an_address_that_is_taken_is_named(settings: Settings) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(FailedPrecondition, match=rf"cannot serve metrics at {address}: "):
            await Running(with_value(settings, ("metrics_address",), address)).__aenter__()


async def test_systemd_hears_of_start_and_stop(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        async with Running(settings):
            assert supervisor.recv(200) == b"STATUS=recovering pods"
            assert supervisor.recv(200) == f"READY=1\nSTATUS=serving {settings.listen}".encode()
        assert supervisor.recv(200).startswith(b"STOPPING=1\n")


async def test_a_crash_leaves_the_stacks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    enabled: list[bool] = []
    monkeypatch.setattr(faulthandler, "is_enabled", lambda: False)
    monkeypatch.setattr(faulthandler, "enable", lambda: enabled.append(True))
    async with Running(settings):
        assert enabled == [True]


def test_systemd_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    notify("READY=1", "")
    notify("READY=1", str(tmp_path / "nobody"))


def test_a_lock_is_free_again_after_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path / "a", tmp_path / "b"), pytest.raises(FailedPrecondition), locked(tmp_path / "b"):
        pass
    with locked(tmp_path / "b"):
        pass


async def test_a_place_where_no_socket_can_be_is_named(tmp_path: Path) -> None:
    server = grpc.aio.server()
    directory = tmp_path / "d"
    directory.mkdir()
    try:
        with pytest.raises(FailedPrecondition, match=rf"cannot listen on {directory}: "):
            bind(server, directory)
    finally:
        await server.stop(None)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        with suppress(TypeError):
            signal.signal(number, handler)


async def _answer(call: Any) -> Any:
    return await call
