"""A daemon for tests of NRI: nothing but records, and the hooks called around them as the RPC handlers do."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from google.protobuf.message import Message

from cri.api import runtime_pb2 as api
from cri.config.schema import NriSettings, Settings
from cri.daemon import Daemon
from cri.errors import NotFound
from cri.live import LiveContainer
from cri.nri import ttrpc
from cri.nri.api import nri_pb2 as nri
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
        self.live_containers: dict[str, LiveContainer] = {}
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


class MakeDaemon(Protocol):
    async def __call__(self, **settings: Any) -> FakeDaemon: ...


@asynccontextmanager
async def daemons(directory: Path) -> AsyncIterator[MakeDaemon]:
    """Makes daemons of one directory; timeouts are long unless a test says otherwise. All are closed at the end."""
    made: list[FakeDaemon] = []

    async def make(**settings: Any) -> FakeDaemon:
        defaults: dict[str, Any] = {
            "socket_path": directory / "nri.sock",
            "plugin_path": directory / "plugins",
            "plugin_config_path": directory / "conf.d",
            "registration_timeout": 20.0,
            "request_timeout": 20.0,
        }
        daemon = FakeDaemon(directory, NriSettings(**(defaults | settings)))
        await daemon.nri.open()
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        await daemon.nri.close()


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


def responds(response: Message) -> Handler:
    return lambda _: response


def adjusts(**fields: Any) -> Handler:
    return responds(nri.CreateContainerResponse(adjust=nri.ContainerAdjustment(**fields)))


def refuses(text: str, code: int = ttrpc.UNKNOWN) -> Handler:
    def handler(_: Message) -> Message:
        raise Refusal(text, code)

    return handler
