"""Plugins on a real socket, told of the pods and containers of a daemon that has nothing but records."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import pytest
from google.protobuf.message import Message

from cri.api import runtime_pb2 as api
from cri.config.schema import NriSettings, Settings
from cri.daemon import Daemon
from cri.errors import InvalidArgument, NotFound
from cri.nri import lifecycle, ttrpc
from cri.nri.api import nri_pb2 as nri
from cri.nri.errors import AdjustmentConflict, PluginRefused
from cri.nri.lifecycle import Nri
from cri.paths import Paths
from cri.state.machine import ContainerState, Event, SandboxState
from cri.state.records import ContainerID, ContainerRecord, SandboxID, SandboxRecord
from oci import spec
from tests.nri_plugin import FakePlugin, Handler, Refusal

SPEC = spec.Spec(
    oci_version=spec.VERSION,
    process=spec.Process(cwd="/", args=("sleep",), env=("A=1",)),
    linux=spec.Linux(cgroups_path="/pods/c1"),
)


class Cgroups:
    """Remembers what was set."""

    def __init__(self) -> None:
        self.set: list[tuple[str, spec.Resources]] = []

    def open(self, path: str) -> Any:
        cgroups = self

        class One:
            def update(self, resources: spec.Resources) -> None:
                cgroups.set.append((path, resources))

        return One()


R = TypeVar("R", SandboxRecord, ContainerRecord)


class Records(Generic[R]):
    """What `Nri` uses of a table."""

    def __init__(self) -> None:
        self._records: dict[str, R] = {}
        self.observers: list[Callable[[R | None, R | None], None]] = []

    def __iter__(self) -> Iterator[R]:
        return iter(list(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def get(self, record_id: str) -> R | None:
        return self._records.get(record_id)

    def need(self, record_id: str) -> R:
        if record_id not in self._records:
            raise NotFound("record", record_id)
        return self._records[record_id]

    def put(self, record: R) -> R:
        before = self._records.get(record.id)
        self._records[record.id] = record
        for observer in self.observers:
            observer(before, record)
        return record

    def drop(self, record_id: str) -> None:
        before = self._records.pop(record_id)
        for observer in self.observers:
            observer(before, None)


class FakeDaemon:
    """What `Nri` uses of a daemon."""

    def __init__(self, directory: Path, nri_settings: NriSettings) -> None:
        self.settings = dataclasses.replace(Settings(), nri=nri_settings)
        self.paths = Paths(root=directory / "root", runroot=directory / "run")
        self.paths.make()
        self.cgroups = Cgroups()
        self.sandboxes: Records[SandboxRecord] = Records()
        self.containers: Records[ContainerRecord] = Records()
        self.nri = Nri(cast(Daemon, self))

    @property
    def socket(self) -> Path:
        return self.settings.nri.socket_path

    def containers_of(self, sandbox_id: str) -> list[ContainerRecord]:
        return [record for record in self.containers if record.sandbox_id == sandbox_id]

    # --- what the handlers do around the hooks ------------------------------------------------------------------------

    async def run_pod(self, name: str = "p1") -> SandboxRecord:
        config = api.PodSandboxConfig(metadata=api.PodSandboxMetadata(name=name, uid="u1", namespace="ns"))
        record = self.sandboxes.put(
            SandboxRecord(
                id=SandboxID(name),
                state=SandboxState.CREATING,
                config_bytes=config.SerializeToString(),
                created_at=1,
                netns="/run/netns/x",
            )
        )
        try:
            async with self.nri.making_pod(record.with_(ips=("10.0.0.1",))):
                return self.sandboxes.put(record.moved(Event.MADE, ips=("10.0.0.1",)))
        except BaseException:
            await self.remove_pod(self.sandboxes.put(record.moved(Event.FAILED)))
            raise

    async def stop_pod(self, pod: SandboxRecord) -> SandboxRecord:
        pod = self.sandboxes.put(self.sandboxes.need(pod.id).moved(Event.STOP))
        for container in self.containers_of(pod.id):
            if container.state in (ContainerState.CREATED, ContainerState.RUNNING):
                self.end(container)
        await self.nri.stopping_pod(pod)
        return self.sandboxes.put(pod.moved(Event.STOPPED))

    async def remove_pod(self, pod: SandboxRecord) -> None:
        pod = self.sandboxes.put(self.sandboxes.need(pod.id).moved(Event.REMOVE))
        for container in self.containers_of(pod.id):
            await self.remove(container)
        await self.nri.stopping_pod(pod)
        await self.nri.removing_pod(pod)
        self.sandboxes.drop(pod.id)

    async def create(self, pod: SandboxRecord, name: str = "c1", base: spec.Spec = SPEC) -> ContainerRecord:
        config = api.ContainerConfig(metadata=api.ContainerMetadata(name=f"name-{name}"))
        record = self.containers.put(
            ContainerRecord(
                id=ContainerID(name),
                sandbox_id=pod.id,
                state=ContainerState.CREATING,
                config_bytes=config.SerializeToString(),
                created_at=1,
                cgroup=f"/pods/{name}",
            )
        )
        try:
            async with self.nri.making_container(pod, record, base) as (record, specification):
                bundle = self.paths.bundle(name)
                bundle.mkdir(parents=True)
                (bundle / "config.json").write_text(json.dumps(spec.to_json(specification)))
                return self.containers.put(record.moved(Event.MADE, pid=7))
        except BaseException:
            await self.remove(self.containers.put(self.containers.need(name).moved(Event.FAILED)))
            raise

    def start(self, record: ContainerRecord) -> ContainerRecord:
        return self.containers.put(self.containers.need(record.id).moved(Event.STARTED))

    def end(self, record: ContainerRecord) -> ContainerRecord:
        return self.containers.put(self.containers.need(record.id).moved(Event.DIED, exit_code=1))

    async def remove(self, record: ContainerRecord) -> None:
        record = self.containers.put(self.containers.need(record.id).moved(Event.REMOVE))
        await self.nri.removing(record)
        self.containers.drop(record.id)

    def spec_of(self, name: str) -> spec.Spec:
        return spec.Spec.from_json(json.loads((self.paths.bundle(name) / "config.json").read_text()))


@pytest.fixture
async def make_daemon(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    made: list[FakeDaemon] = []

    async def make(**settings: Any) -> FakeDaemon:
        defaults: dict[str, Any] = {
            "socket_path": tmp_path / "nri.sock",
            "plugin_path": tmp_path / "plugins",
            "plugin_config_path": tmp_path / "conf.d",
            "registration_timeout": 20.0,
            "request_timeout": 20.0,
        }
        daemon = FakeDaemon(tmp_path, NriSettings(**(defaults | settings)))
        await daemon.nri.open()
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        await daemon.nri.close()


@pytest.fixture
async def daemon(make_daemon: Callable[..., Any]) -> FakeDaemon:
    return cast(FakeDaemon, await make_daemon())


async def joined(daemon: FakeDaemon, *, among: int = 1, **settings: Any) -> FakePlugin:
    """A plugin that is in service, one of `among`."""
    plugin = FakePlugin(daemon.socket, **settings)
    plugin.__enter__()
    await in_service(daemon, among)
    return plugin


async def in_service(daemon: FakeDaemon, count: int) -> None:
    async with asyncio.timeout(20):
        while len(daemon.nri._adaptation.plugins) != count:  # noqa: ASYNC110  nothing says when it is
            await asyncio.sleep(0)


async def until_told(plugin: FakePlugin, method: str, times: int = 1) -> None:
    await asyncio.to_thread(plugin.wait_for, method, times=times)


def responds(response: Message) -> Handler:
    return lambda _: response


def adjusts(**fields: Any) -> Handler:
    return responds(nri.CreateContainerResponse(adjust=nri.ContainerAdjustment(**fields)))


def refuses(text: str, code: int = ttrpc.UNKNOWN) -> Handler:
    def handler(_: Message) -> Message:
        raise Refusal(text, code)

    return handler


async def test_a_plugin_is_configured_synchronized_and_told_everything_in_order(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    pod = await daemon.run_pod()
    container = await daemon.create(pod)
    await daemon.nri.starting(container)
    await daemon.nri.started(daemon.start(container))
    daemon.end(container)
    await daemon.nri.stopped(container.id)
    await daemon.remove(container)
    await daemon.remove_pod(await daemon.stop_pod(pod))
    assert plugin.methods() == [
        *("Configure", "Synchronize", "RunPodSandbox"),
        *("CreateContainer", "ValidateContainerAdjustment", "PostCreateContainer"),
        *("StartContainer", "PostStartContainer", "StopContainer", "RemoveContainer"),
        *("StopPodSandbox", "RemovePodSandbox"),
    ]
    configure = plugin.of("Configure", nri.ConfigureRequest)[0]
    assert (configure.runtime_name, configure.request_timeout, configure.NRI_version) == ("coracle", 20_000, "v0.12.1")
    shown = plugin.of("RunPodSandbox", nri.RunPodSandboxRequest)[0].pod
    assert (shown.id, shown.name, shown.uid, shown.namespace) == ("p1", "p1", "u1", "ns")
    assert list(shown.ips) == ["10.0.0.1"]
    assert shown.linux.namespaces[0] == nri.LinuxNamespace(type="network", path="/run/netns/x")
    created = plugin.of("CreateContainer", nri.CreateContainerRequest)[0].container
    assert (created.name, list(created.args), list(created.env)) == ("name-c1", ["sleep"], ["A=1"])
    stopped = plugin.of("StopContainer", nri.StopContainerRequest)[0]
    assert (stopped.pod.name, stopped.container.exit_code, list(stopped.container.args)) == ("p1", 1, ["sleep"])
    assert stopped.container.state == nri.CONTAINER_STOPPED


async def test_stops_are_told_once(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    pod = await daemon.run_pod()
    await daemon.create(pod)
    stopped = await daemon.stop_pod(pod)
    await daemon.stop_pod(stopped)
    await daemon.remove_pod(stopped)
    methods = plugin.methods()
    for method in ("StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox"):
        assert methods.count(method) == 1
    assert methods.index("StopContainer") < methods.index("StopPodSandbox") < methods.index("RemoveContainer")


async def test_a_container_removed_while_it_runs_is_told_as_stopped_first(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    container = await daemon.create(await daemon.run_pod())
    await daemon.remove(daemon.start(container))
    assert plugin.methods()[-2:] == ["StopContainer", "RemoveContainer"]


async def test_only_what_was_subscribed_to_is_told(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon, subscribed=1 << (nri.STOP_POD_SANDBOX - 1))
    await daemon.stop_pod(await daemon.run_pod())
    assert plugin.methods()[2:] == ["StopPodSandbox"]


async def test_plugins_are_asked_in_the_order_of_their_indexes(daemon: FakeDaemon) -> None:
    order: list[str] = []

    def note(name: str) -> Handler:
        return lambda _: order.append(name)

    await joined(daemon, index="90", handlers={"RunPodSandbox": note("90")})
    await joined(daemon, index="05", handlers={"RunPodSandbox": note("05")}, among=2)
    await daemon.run_pod()
    assert order == ["05", "90"]


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_a_refused_pod_fails_with_the_plugins_words_and_can_be_tried_again(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon, index="00", name="strict", handlers={"RunPodSandbox": refuses("not on this node")})
    with pytest.raises(PluginRefused, match="NRI plugin 00-strict: RunPodSandbox: not on this node"):
        await daemon.run_pod()
    assert plugin.methods()[-2:] == ["StopPodSandbox", "RemovePodSandbox"]
    assert daemon.sandboxes.get("p1") is None
    del plugin.handlers["RunPodSandbox"]
    assert (await daemon.run_pod()).state is SandboxState.READY


async def test_a_refused_container_fails_and_is_undone(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon, handlers={"CreateContainer": refuses("no room")})
    pod = await daemon.run_pod()
    with pytest.raises(PluginRefused, match="no room"):
        await daemon.create(pod)
    assert plugin.methods()[-2:] == ["StopContainer", "RemoveContainer"]
    assert len(daemon.containers) == 0


async def test_nobody_can_refuse_a_stop(daemon: FakeDaemon) -> None:
    refusal = refuses("never")
    plugin = await joined(
        daemon,
        handlers=dict.fromkeys(("StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox"), refusal),
    )
    pod = await daemon.run_pod()
    await daemon.create(pod)
    await daemon.remove_pod(await daemon.stop_pod(pod))
    assert plugin.methods()[-1] == "RemovePodSandbox"


# --- adjustments ------------------------------------------------------------------------------------------------------


async def test_adjustments_of_all_plugins_are_applied(daemon: FakeDaemon) -> None:
    await joined(daemon, index="00", handlers={"CreateContainer": adjusts(env=[nri.KeyValue(key="B", value="2")])})
    wanted = nri.LinuxContainerAdjustment(
        cgroups_path="/other",
        resources=nri.LinuxResources(memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=1 << 20))),
    )
    second = await joined(daemon, index="10", handlers={"CreateContainer": adjusts(linux=wanted)}, among=2)
    record = await daemon.create(await daemon.run_pod())
    specification = daemon.spec_of("c1")
    assert specification.process is not None
    assert specification.process.env == ("A=1", "B=2")
    assert specification.linux.cgroups_path == record.cgroup == "/other"
    assert record.resources.memory_limit_in_bytes == 1 << 20
    shown = second.of("CreateContainer", nri.CreateContainerRequest)[0].container
    assert list(shown.env) == ["A=1", "B=2"]
    made = second.of("PostCreateContainer", nri.PostCreateContainerRequest)[0].container
    assert (made.linux.cgroups_path, made.linux.resources.memory.limit.value) == ("/other", 1 << 20)


async def test_plugins_that_want_the_same_fail_the_container(daemon: FakeDaemon) -> None:
    wants = adjusts(env=[nri.KeyValue(key="B", value="2")])
    await joined(daemon, index="00", name="one", handlers={"CreateContainer": wants})
    await joined(daemon, index="10", name="two", handlers={"CreateContainer": wants}, among=2)
    pod = await daemon.run_pod()
    with pytest.raises(AdjustmentConflict, match=r"10-two.*Env 'B'.*00-one"):
        await daemon.create(pod)


async def test_an_adjustment_that_cannot_be_made_fails_the_container(daemon: FakeDaemon) -> None:
    await joined(daemon, handlers={"CreateContainer": adjusts(CDI_devices=[nri.CDIDevice(name="v.com/c=d")])})
    pod = await daemon.run_pod()
    with pytest.raises(InvalidArgument, match=r"v\.com/c=d"):
        await daemon.create(pod)
    assert len(daemon.containers) == 0


@pytest.mark.parametrize("reject", [True, False])
async def test_a_validator_has_the_last_word(daemon: FakeDaemon, reject: bool) -> None:
    await joined(
        daemon, index="00", name="adds", handlers={"CreateContainer": adjusts(env=[nri.KeyValue(key="B", value="2")])}
    )
    verdict = nri.ValidateContainerAdjustmentResponse(reject=reject, reason="B is forbidden")
    validator = await joined(
        daemon,
        index="99",
        handlers={"ValidateContainerAdjustment": responds(verdict)},
        subscribed=1 << (nri.VALIDATE_CONTAINER_ADJUSTMENT - 1),
        among=2,
    )
    pod = await daemon.run_pod()
    if reject:
        with pytest.raises(PluginRefused, match="B is forbidden"):
            await daemon.create(pod)
    else:
        await daemon.create(pod)
    request = validator.of("ValidateContainerAdjustment", nri.ValidateContainerAdjustmentRequest)[0]
    assert list(request.container.env) == ["A=1"]
    assert [pair.key for pair in request.adjust.env] == ["B"]
    assert request.owners.owners["c1"].compound[nri.Env].owners["B"] == "00-adds"
    assert [(plugin.index, plugin.name) for plugin in request.plugins] == [("00", "adds"), ("99", "test")]


async def test_a_plugin_of_former_days_gets_state_changes(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon, handlers={"RunPodSandbox": refuses("what is that", ttrpc.UNIMPLEMENTED)})
    await daemon.run_pod("p1")
    await daemon.run_pod("p2")
    assert plugin.methods()[2:] == ["RunPodSandbox", "StateChange", "StateChange"]
    change = plugin.of("StateChange", nri.StateChangeEvent)[1]
    assert (change.event, change.pod.id) == (nri.RUN_POD_SANDBOX, "p2")


# --- updates ----------------------------------------------------------------------------------------------------------


def memory(container_id: str, limit: int, *, ignore: bool = False) -> nri.ContainerUpdate:
    resources = nri.LinuxResources(memory=nri.LinuxMemory(limit=nri.OptionalInt64(value=limit)))
    return nri.ContainerUpdate(
        container_id=container_id, linux=nri.LinuxContainerUpdate(resources=resources), ignore_failure=ignore
    )


def limited(limit: int) -> spec.Resources:
    return spec.Resources(memory=spec.MemoryResources(limit=limit, swap=limit))


async def test_a_plugin_updates_containers_whenever_it_likes(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    await daemon.create(await daemon.run_pod())
    response = await asyncio.to_thread(
        plugin.update, memory("c1", 5), memory("nobody", 6), memory("nobody", 7, ignore=True)
    )
    assert [update.linux.resources.memory.limit.value for update in response.failed] == [6]
    assert daemon.cgroups.set == [("/pods/c1", limited(5))]
    assert daemon.containers.need("c1").resources.memory_limit_in_bytes == 5


async def test_a_plugin_may_call_while_it_is_asked(daemon: FakeDaemon) -> None:
    pod = await daemon.run_pod()
    await daemon.create(pod, "c1")
    plugin = await joined(daemon)

    def update_another(_: Message) -> None:
        plugin.update(memory("c1", 5))

    plugin.handlers["CreateContainer"] = update_another
    await daemon.create(pod, "c2")
    assert daemon.cgroups.set == [("/pods/c1", limited(5))]


async def test_updates_of_others_come_with_every_answer_that_can_hold_them(daemon: FakeDaemon) -> None:
    pod = await daemon.run_pod()
    await daemon.create(pod, "c1")
    handlers: Mapping[str, Handler] = {
        "Synchronize": responds(nri.SynchronizeResponse(update=[memory("c1", 1)])),
        "CreateContainer": responds(nri.CreateContainerResponse(update=[memory("c1", 2)])),
        "UpdateContainer": responds(nri.UpdateContainerResponse(update=[memory("c1", 3), memory("c2", 30)])),
        "StopContainer": responds(nri.StopContainerResponse(update=[memory("c1", 4)])),
    }
    await joined(daemon, handlers=handlers)
    second = await daemon.create(pod, "c2")
    assert await daemon.nri.updating(second, limited(20)) == limited(30)
    daemon.end(second)
    await daemon.nri.stopped("c2")
    assert daemon.cgroups.set == [("/pods/c1", limited(limit)) for limit in (1, 2, 3, 4)]


async def test_an_update_that_nobody_changes_stays_what_it_was(daemon: FakeDaemon) -> None:
    await joined(daemon)
    container = await daemon.create(await daemon.run_pod())
    wanted = spec.Resources(memory=spec.MemoryResources(limit=5))
    assert await daemon.nri.updating(container, wanted) is wanted


async def test_an_update_of_another_that_fails_fails_the_creation_unless_it_may(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    pod = await daemon.run_pod()
    for ignore in (True, False):
        response = nri.CreateContainerResponse(update=[memory("nobody", 2, ignore=ignore)])
        plugin.handlers["CreateContainer"] = responds(response)
        if ignore:
            await daemon.create(pod, "c1")
        else:
            with pytest.raises(Exception, match="nobody"):
                await daemon.create(pod, "c2")


async def test_an_evicted_container_is_stopped(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def stop(_: object, record: ContainerRecord, grace_s: float) -> None:
        stopped.set_result(record.id)

    monkeypatch.setattr(lifecycle, "stop_container", stop)
    plugin = await joined(daemon)
    await daemon.create(await daemon.run_pod())
    plugin.call(
        "UpdateContainers",
        nri.UpdateContainersRequest(evict=[nri.ContainerEviction(container_id="c1", reason="too loud")]),
    )
    async with asyncio.timeout(10):
        assert await stopped == "c1"


# --- synchronization --------------------------------------------------------------------------------------------------


async def test_a_plugin_that_comes_later_is_shown_what_exists(daemon: FakeDaemon) -> None:
    pod = await daemon.run_pod()
    await daemon.create(pod)
    plugin = await joined(daemon)
    request = plugin.of("Synchronize", nri.SynchronizeRequest)[0]
    assert [shown.id for shown in request.pods] == ["p1"]
    assert [(shown.id, list(shown.args)) for shown in request.containers] == [("c1", ["sleep"])]


async def test_after_a_restart_plugins_are_shown_what_the_records_say(make_daemon: Callable[..., Any]) -> None:
    daemon: FakeDaemon = await make_daemon(enable=False)
    pod = await daemon.run_pod()
    await daemon.create(pod)
    again = Nri(cast(Daemon, daemon))
    assert not again._known
    await again.open()
    assert again._known == again._live == {"p1", "c1"}


async def test_nothing_is_lost_or_doubled_around_a_synchronization(daemon: FakeDaemon) -> None:
    pod = await daemon.run_pod()
    await daemon.create(pod, "before")
    synchronizing, release = threading.Event(), threading.Event()

    def synchronize(_: Message) -> Message:
        synchronizing.set()
        assert release.wait(20)
        return nri.SynchronizeResponse()

    plugin = FakePlugin(daemon.socket, handlers={"Synchronize": synchronize})
    plugin.__enter__()
    assert await asyncio.to_thread(synchronizing.wait, 20)
    during = [asyncio.ensure_future(daemon.create(pod, f"during{number}")) for number in range(3)]
    ended = daemon.end(daemon.containers.need("before"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in during)
    release.set()
    await asyncio.gather(*during)
    await daemon.nri.stopped(ended.id)
    await daemon.create(pod, "after")
    shown = [container.id for container in plugin.of("Synchronize", nri.SynchronizeRequest)[0].containers]
    called = [request.container.id for request in plugin.of("CreateContainer", nri.CreateContainerRequest)]
    assert shown == ["before"]
    assert sorted(called) == ["after", "during0", "during1", "during2"]
    assert [request.container.id for request in plugin.of("StopContainer", nri.StopContainerRequest)] == ["before"]


async def test_a_long_list_is_sent_in_parts(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ttrpc, "LONGEST_MESSAGE", 700)
    pod = await daemon.run_pod()
    for number in range(20):
        await daemon.create(pod, f"c{number}")
    plugin = await joined(daemon)
    requests = plugin.of("Synchronize", nri.SynchronizeRequest)
    assert len(requests) > 1
    assert [request.more for request in requests] == [True] * (len(requests) - 1) + [False]
    assert [c.id for request in requests for c in request.containers] == [f"c{number}" for number in range(20)]


async def test_a_plugin_that_takes_no_parts_is_not_taken_into_service(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ttrpc, "LONGEST_MESSAGE", 700)
    pod = await daemon.run_pod()
    for number in range(20):
        await daemon.create(pod, f"c{number}")
    plugin = FakePlugin(daemon.socket, handlers={"Synchronize": responds(nri.SynchronizeResponse())})
    plugin.__enter__()
    assert await asyncio.to_thread(plugin.closed.wait, 20)
    assert daemon.nri._adaptation.plugins == []


# --- plugins that do not behave ---------------------------------------------------------------------------------------


def hangs(_: Message) -> Message:
    threading.Event().wait(30)
    raise Refusal("too late")


@pytest.mark.parametrize(
    ("settings", "handlers"),
    [
        ({"registration_timeout": 0.05}, {"Synchronize": hangs}),
        ({"request_timeout": 0.05}, {"Configure": hangs}),
        ({}, {"Configure": refuses("not with you")}),
        ({}, {"Configure": responds(nri.ConfigureResponse(events=1 << 20))}),
        ({}, {"Synchronize": refuses("cannot")}),
    ],
)
async def test_a_plugin_that_fails_on_its_way_is_closed_and_nobody_waits(
    make_daemon: Callable[..., Any], settings: dict[str, Any], handlers: dict[str, Handler]
) -> None:
    daemon: FakeDaemon = await make_daemon(**settings)
    plugin = FakePlugin(daemon.socket, handlers=handlers)
    plugin.__enter__()
    assert await asyncio.to_thread(plugin.closed.wait, 20)
    await daemon.create(await daemon.run_pod())
    assert "RunPodSandbox" not in plugin.methods()


async def test_a_connection_that_never_registers_is_closed(make_daemon: Callable[..., Any]) -> None:
    daemon: FakeDaemon = await make_daemon(registration_timeout=0.05)
    plugin = FakePlugin(daemon.socket, registers=False)
    plugin.__enter__()
    assert await asyncio.to_thread(plugin.closed.wait, 20)


@pytest.mark.parametrize(("index", "name"), [("1", "short"), ("aa", "letters"), ("10", ""), ("10", "bad name")])
async def test_a_bad_name_is_refused(daemon: FakeDaemon, index: str, name: str) -> None:
    plugin = FakePlugin(daemon.socket, index=index, name=name, registers=False)
    plugin.__enter__()
    response = await asyncio.wrap_future(plugin.register())
    assert response.code == ttrpc.INVALID_ARGUMENT
    assert await asyncio.to_thread(plugin.closed.wait, 20)


async def test_a_plugin_that_hangs_is_dropped_and_the_call_goes_on(make_daemon: Callable[..., Any]) -> None:
    daemon: FakeDaemon = await make_daemon(request_timeout=0.05)
    plugin = await joined(daemon, handlers={"RunPodSandbox": hangs})
    assert (await daemon.run_pod()).state is SandboxState.READY
    assert await asyncio.to_thread(plugin.closed.wait, 20)
    assert daemon.nri._adaptation.plugins == []


async def test_a_plugin_that_dies_is_dropped_and_the_call_goes_on(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    plugin.handlers["CreateContainer"] = lambda _: plugin.close()
    container = await daemon.create(await daemon.run_pod())
    assert container.state is ContainerState.CREATED
    assert daemon.nri._adaptation.plugins == []


@pytest.mark.parametrize("data", [b"\0\0\0\1\xff\xff\xff\xff", b"\0\0\0\1\0\0\0\x0a\0\0\0\0\0\0\0\1\3\0" * 2])
async def test_a_plugin_that_sends_nonsense_ends_alone(daemon: FakeDaemon, data: bytes) -> None:
    plugin = await joined(daemon)
    plugin.handlers["RunPodSandbox"] = lambda _: plugin.send(data)
    await daemon.run_pod()
    await daemon.run_pod("p2")
    assert len(daemon.sandboxes) == 2


async def test_a_second_registration_and_unknown_calls_are_refused(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    assert (await asyncio.wrap_future(plugin.register())).code == ttrpc.INVALID_ARGUMENT
    assert (await asyncio.wrap_future(plugin.call("Dance", nri.Empty()))).code == ttrpc.UNIMPLEMENTED


async def test_plugins_are_told_that_the_daemon_ends(daemon: FakeDaemon) -> None:
    plugin = await joined(daemon)
    await daemon.nri.close()
    await until_told(plugin, "Shutdown")
    assert not daemon.socket.exists()


# --- the ways in ------------------------------------------------------------------------------------------------------


async def test_a_stale_socket_is_replaced_and_one_in_use_is_left_alone(
    make_daemon: Callable[..., Any], tmp_path: Path
) -> None:
    first: FakeDaemon = await make_daemon()
    inode = first.socket.stat().st_ino
    second: FakeDaemon = await make_daemon()
    assert first.socket.stat().st_ino == inode
    await second.run_pod()
    await joined(first)


@pytest.mark.parametrize("settings", [{"enable": False}, {"disable_connections": True}])
async def test_no_socket_where_none_is_wanted(make_daemon: Callable[..., Any], settings: dict[str, bool]) -> None:
    daemon: FakeDaemon = await make_daemon(**settings)
    assert not daemon.socket.exists()
    await daemon.create(await daemon.run_pod())
