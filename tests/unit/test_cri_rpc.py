"""The wrapper, over a real unix socket: results, errors, cancellation, deadlines, log lines, metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cri.api import runtime_pb2 as api
from cri.api import runtime_pb2_grpc as rpcs
from cri.errors import AlreadyExists, FailedPrecondition, ImageVolumeMountFailed, InvalidArgument, NotFound
from cri.metrics import Metrics
from cri.rpc import Call, Handler, RequestIDs, Wrapper
from cri.tracing import NoTracing
from tests.metric_values import metric

RUNTIME = api.DESCRIPTOR.services_by_name["RuntimeService"]
IMAGES = api.DESCRIPTOR.services_by_name["ImageService"]


class FakeDaemon:
    """What handlers of these tests are given."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.finished = asyncio.Event()


class Serving:
    def __init__(self, daemon: FakeDaemon, metrics: Metrics, channel: grpc.aio.Channel) -> None:
        self.daemon = daemon
        self.metrics = metrics
        self.runtime: Any = rpcs.RuntimeServiceStub(channel)
        self.channel = channel

    def figure(self, name: str, **labels: str) -> float | None:
        return metric(self.metrics, name, **labels)


@asynccontextmanager
async def serving(tmp_path: Path, **handlers: Handler[FakeDaemon]) -> AsyncIterator[Serving]:
    metrics = Metrics()
    daemon = FakeDaemon()
    wrapper = Wrapper(daemon, metrics, NoTracing(), RequestIDs("t"))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((wrapper.service(RUNTIME, handlers), wrapper.service(IMAGES, {})))
    address = f"unix://{tmp_path}/s"
    server.add_insecure_port(address)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield Serving(daemon, metrics, channel)
    finally:
        await server.stop(None)


async def version(daemon: FakeDaemon, request: api.VersionRequest, call: Call) -> api.VersionResponse:
    return api.VersionResponse(version=request.version, runtime_name=call.request_id)


async def failing(tmp_path: Path, error: BaseException) -> grpc.aio.AioRpcError:
    async def create(daemon: FakeDaemon, request: object, call: Call) -> object:
        raise error

    async with serving(tmp_path, CreateContainer=create) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.runtime.CreateContainer(api.CreateContainerRequest())
    return caught.value


async def test_a_handler_answers(tmp_path: Path) -> None:
    async with serving(tmp_path, Version=version) as served:
        answer = await served.runtime.Version(api.VersionRequest(version="0.1.0"))
        assert (answer.version, answer.runtime_name) == ("0.1.0", "t-1")
        assert served.figure("operations_total", operation="Version") == 1
        assert served.figure("operations_errors_total", operation="Version") == 0
        assert served.figure("operations_duration_seconds_count", operation="Version") == 1
        assert served.figure("operations_latency_seconds_total_count", operation="Version") == 1


async def test_an_answer_may_be_serialized_already(tmp_path: Path) -> None:
    async def serialized(daemon: FakeDaemon, request: object, call: Call) -> bytes:
        return api.ListContainersResponse(containers=[api.Container(id="c1")]).SerializeToString()

    async with serving(tmp_path, ListContainers=serialized) as served:
        answer = await served.runtime.ListContainers(api.ListContainersRequest())
        assert [container.id for container in answer.containers] == ["c1"]


@pytest.mark.parametrize("service", [RUNTIME, IMAGES], ids=lambda service: service.name)
async def test_every_call_without_a_handler_says_so_in_the_words_that_the_kubelet_knows(
    tmp_path: Path, service: Any
) -> None:
    async with serving(tmp_path) as served:
        for method in service.methods:
            path = f"/{service.full_name}/{method.name}"
            channel: Any = served.channel
            if method.server_streaming:
                answer = _all(channel.unary_stream(path)(b""))
            else:
                answer = _call(channel.unary_unary(path)(b""))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await answer
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert caught.value.details() == f"method {method.name} not implemented"


async def waiting_object(daemon: object, request: object, call: Call) -> None: ...


def test_a_handler_for_no_method_is_refused() -> None:
    wrapper: Wrapper[object] = Wrapper(None, Metrics(), NoTracing())
    with pytest.raises(ValueError, match=r"runtime\.v1\.RuntimeService has no methods Verison"):
        wrapper.service(RUNTIME, {"Verison": waiting_object})


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InvalidArgument("config.metadata", "is required"), "INVALID_ARGUMENT", "config.metadata: is required"),
        (NotFound("container", "abc"), "NOT_FOUND", "container 'abc' not found"),
        (AlreadyExists("taken"), "ALREADY_EXISTS", "taken"),
        (FailedPrecondition("not running"), "FAILED_PRECONDITION", "not running"),
        (ImageVolumeMountFailed("no"), "UNKNOWN", "ImageVolumeMountFailed: no"),
    ],
)
async def test_errors_become_their_status(tmp_path: Path, error: Exception, code: str, text: str) -> None:
    answer = await failing(tmp_path, error)
    assert (answer.code().name, answer.details()) == (code, text)


async def test_a_defect_is_logged_and_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer = await failing(tmp_path, KeyError("password=hunter2"))
    assert answer.code() is grpc.StatusCode.INTERNAL
    assert answer.details() == "internal error (KeyError); the daemon's log says more under request t-1"
    # Of this logger: gRPC's poller complains of loops that earlier tests have closed.
    [record] = [one for one in caplog.records if (one.name, one.levelno) == ("cri.rpc", logging.ERROR)]
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


async def test_errors_are_counted(tmp_path: Path) -> None:
    async def missing(daemon: FakeDaemon, request: object, call: Call) -> object:
        raise NotFound("container", "x")

    async with serving(tmp_path, ContainerStatus=missing) as served:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.runtime.ContainerStatus(api.ContainerStatusRequest())
        assert served.figure("operations_errors_total", operation="ContainerStatus") == 1


async def waiting(daemon: FakeDaemon, request: object, call: Call) -> api.StopContainerResponse:
    daemon.entered.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        daemon.cancelled.set()
        raise
    return api.StopContainerResponse()


async def test_a_caller_that_goes_away_cancels_the_handler(tmp_path: Path) -> None:
    async with serving(tmp_path, StopContainer=waiting) as served:
        answer = asyncio.ensure_future(_call(served.runtime.StopContainer(api.StopContainerRequest())))
        await served.daemon.entered.wait()
        answer.cancel()
        await served.daemon.cancelled.wait()


async def test_a_deadline_cancels_the_handler(tmp_path: Path) -> None:
    async with serving(tmp_path, StopContainer=waiting) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.runtime.StopContainer(api.StopContainerRequest(), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await served.daemon.cancelled.wait()


async def test_work_that_is_cancelled_below_a_caller_who_waits_is_an_answer(tmp_path: Path) -> None:
    answer = await failing(tmp_path, asyncio.CancelledError())
    assert (answer.code().name, answer.details()) == ("UNAVAILABLE", "the work for this call was cancelled")


async def test_shielded_work_goes_on_without_its_caller(tmp_path: Path) -> None:
    proceed = asyncio.Event()

    async def work(daemon: FakeDaemon) -> None:
        daemon.entered.set()
        await proceed.wait()
        daemon.finished.set()

    async def shielding(daemon: FakeDaemon, request: object, call: Call) -> object:
        await asyncio.shield(asyncio.ensure_future(work(daemon)))
        return api.StopContainerResponse()

    async with serving(tmp_path, StopContainer=shielding) as served:
        answer = asyncio.ensure_future(_call(served.runtime.StopContainer(api.StopContainerRequest())))
        await served.daemon.entered.wait()
        answer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answer
        proceed.set()
        await served.daemon.finished.wait()


async def test_the_call_knows_its_deadline_and_its_metadata(tmp_path: Path) -> None:
    calls: list[Call] = []

    async def record(daemon: FakeDaemon, request: object, call: Call) -> api.VersionResponse:
        calls.append(call)
        return api.VersionResponse()

    async with serving(tmp_path, Version=record) as served:
        await served.runtime.Version(api.VersionRequest(), timeout=60, metadata=(("x-who", "me"),))
        await served.runtime.Version(api.VersionRequest())
    assert calls[0].metadata["x-who"] == "me"
    remaining = calls[0].time_remaining()
    assert remaining is not None
    assert 0 < remaining < 60
    assert calls[1].time_remaining() is None
    assert not calls[1].cancelled


def test_a_deadline_that_has_passed_leaves_nothing() -> None:
    assert Call(request_id="r", method="m", deadline=0.0, metadata={}).time_remaining() == 0


async def test_streams_answer_fail_and_end(tmp_path: Path) -> None:
    async def stream(daemon: FakeDaemon, request: api.StreamContainersRequest, call: Call) -> AsyncIterator[Any]:
        yield api.StreamContainersResponse(containers=[api.Container(id="a")])
        yield api.StreamContainersResponse(containers=[api.Container(id="b")]).SerializeToString()
        if request.filter.id:
            raise InvalidArgument("filter.id", "is ambiguous")

    async with serving(tmp_path, StreamContainers=stream) as served:
        whole = await _all(served.runtime.StreamContainers(api.StreamContainersRequest()))
        assert [container.id for message in whole for container in message.containers] == ["a", "b"]
        broken = served.runtime.StreamContainers(api.StreamContainersRequest(filter=api.ContainerFilter(id="x")))
        assert [(await broken.read()).containers[0].id for _ in range(2)] == ["a", "b"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await broken.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert served.figure("operations_total", operation="StreamContainers") == 2


async def test_a_reader_that_goes_away_ends_the_stream(tmp_path: Path) -> None:
    async def endless(daemon: FakeDaemon, request: object, call: Call) -> AsyncIterator[Any]:
        try:
            yield api.ContainerEventResponse(container_id="a")
            await asyncio.Event().wait()
        finally:
            daemon.finished.set()

    async with serving(tmp_path, GetContainerEvents=endless) as served:
        events = served.runtime.GetContainerEvents(api.GetEventsRequest())
        assert (await events.read()).container_id == "a"
        events.cancel()
        await served.daemon.finished.wait()


def _facts(record: logging.LogRecord) -> Mapping[str, object]:
    facts: Mapping[str, object] = getattr(record, "fields", {})
    return facts


async def test_a_line_says_what_a_call_was_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run(daemon: FakeDaemon, request: object, call: Call) -> api.RunPodSandboxResponse:
        return api.RunPodSandboxResponse(pod_sandbox_id="s1")

    caplog.set_level(logging.INFO, "cri.rpc")
    metadata = api.PodSandboxMetadata(name="web", namespace="shop", uid="u")
    request = api.RunPodSandboxRequest(config=api.PodSandboxConfig(metadata=metadata))
    async with serving(tmp_path, RunPodSandbox=run, Version=version) as served:
        await served.runtime.RunPodSandbox(request)
        await served.runtime.Version(api.VersionRequest())
    [record] = [record for record in caplog.records if record.name == "cri.rpc"]
    assert _facts(record)["pod"] == "shop/web"


async def test_secrets_stand_in_no_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def create(daemon: FakeDaemon, request: object, call: Call) -> api.CreateContainerResponse:
        return api.CreateContainerResponse(container_id="c1")

    caplog.set_level(logging.DEBUG)
    config = api.ContainerConfig(envs=[api.KeyValue(key="TOKEN", value=b"hunter2")])
    async with serving(tmp_path, CreateContainer=create) as served:
        await served.runtime.CreateContainer(api.CreateContainerRequest(config=config))
    lines = [f"{record.getMessage()} {_facts(record)}" for record in caplog.records if record.name == "cri.rpc"]
    assert any("TOKEN" in line for line in lines)
    assert not any("hunter2" in line for line in lines)


async def _call(answer: Any) -> Any:
    return await answer


async def _all(answers: Any) -> list[Any]:
    return [message async for message in answers]


def test_an_answer_in_the_last_moment_counts_as_unheard() -> None:
    def call(**values: Any) -> Call:
        return Call(request_id="r", method="m", metadata={}, **values)

    assert call().will_be_heard
    assert call(deadline=time.monotonic() + 60).will_be_heard
    assert not call(deadline=time.monotonic() + 0.001).will_be_heard
    assert not call(is_cancelled=lambda: True).will_be_heard
