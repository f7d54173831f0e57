"""A real `Daemon` for tests without root: its records, tables and joined calls, around fakes of everything outside."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cri import exits
from cri.api import runtime_pb2 as api
from cri.config import Settings
from cri.config.schema import with_derived
from cri.daemon import Daemon
from cri.features import Features
from cri.metrics import Metrics
from cri.nri.lifecycle import Nri
from cri.pod_cgroups import PlainPods
from cri.reconciler import Reconciler
from cri.rpc import Call
from cri.shims import ShimGone
from cri.specgen import HostFacts
from cri.state import store
from cri.state.database import migrate, open_database
from cri.state.machine import ContainerState, SandboxState
from cri.state.records import ContainerID, ContainerRecord, SandboxID, SandboxRecord
from cri.stats import ContainerStatistics
from cri.trash import Trash
from imagesvc.config import ImageConfig
from oci.errors import ContainerNotFound, StateError
from oci.protocol.failures import PeerFault
from oci.protocol.messages import ContainerCreate, ContainerExited, ContainerHandles

CALL = Call(request_id="r", method="m", metadata={})
KILLED = int(signal.SIGKILL)  # the wait status


@dataclass
class FakeShim:
    """Containers are states by id. `obeys` says whether a kill ends them; `gates` hold up the verbs they name."""

    daemon: Daemon
    sandbox_id: str
    pid: int = 1
    obeys: bool = True
    is_alive: bool = True
    containers: dict[str, str] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    entered: dict[str, asyncio.Event] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    container_pid: int = field(default_factory=os.getpid)
    killed: bool = False
    _aborted: set[str] = field(default_factory=set)

    def event(self, verb: str) -> asyncio.Event:
        return self.entered.setdefault(verb, asyncio.Event())

    async def _enter(self, verb: str, container_id: str = "") -> None:
        self.calls.append(verb)
        self.event(verb).set()
        if gate := self.gates.get(verb):
            await until(lambda: gate.is_set() or not self.is_alive or container_id in self._aborted)
        if not self.is_alive:
            raise ShimGone("shim", "exited")

    def die(self) -> None:
        self.is_alive = False
        exits.on_shim_lost(self.daemon, self.sandbox_id)

    def exit(self, container_id: str, status: int = KILLED) -> None:
        self.containers[container_id] = "exited"
        exits.on_event(self.daemon, self.sandbox_id, exit_event(container_id, status))

    async def create(self, request: ContainerCreate) -> ContainerHandles:
        self.containers[request.container_id] = "creating"
        await self._enter("create", request.container_id)
        if request.container_id in self._aborted:
            del self.containers[request.container_id]
            raise PeerFault("WorkerDied", "the process that served the request was killed")
        if self.containers[request.container_id] == "creating":
            self.containers[request.container_id] = "created"
        return ContainerHandles(pid=self.container_pid)

    async def start(self, container_id: str) -> None:
        await self._enter("start")
        if self.containers[container_id] == "created":
            self.containers[container_id] = "running"

    async def kill(self, container_id: str, number: int, *, all: bool = False) -> None:
        await self._enter("kill")
        state = self.containers.get(container_id)
        if state is None:
            raise ContainerNotFound(container_id)
        if state == "creating":
            self._aborted.add(container_id)
        elif state != "exited" and self.obeys:
            self.exit(container_id, number)

    async def delete(self, container_id: str) -> None:
        await self._enter("delete")
        if self.containers.get(container_id, "exited") != "exited":
            raise StateError(container_id, "cannot be deleted, it is alive")
        self.containers.pop(container_id, None)

    async def shutdown(self) -> None:
        await self._enter("shutdown")
        for container_id, state in self.containers.items():
            if state != "exited":
                raise StateError(container_id, f"is {state}, the shim stays")
        self.is_alive = False

    def kill_shim(self) -> None:
        self.is_alive, self.killed = False, True

    def listen(self, **_: object) -> None: ...

    def call_it(self, peer: str) -> None: ...

    def disconnect(self) -> None: ...


@dataclass
class FakeCgroup:
    driver: FakeCgroups
    path: str

    def kill(self, number: int) -> None:
        self.driver.calls.append(f"kill {self.path}")
        self.driver.on_kill(self.path)

    def remove(self) -> None:
        self.driver.calls.append(f"remove {self.path}")
        if self.driver.stuck:
            raise OSError(16, "busy", self.path)

    def oom_kills(self) -> int:
        return 0


@dataclass
class FakeCgroups:
    name: str = "v1"
    calls: list[str] = field(default_factory=list)
    stuck: bool = False
    on_kill: Callable[[str], object] = lambda path: None

    def open(self, path: str) -> FakeCgroup:
        return FakeCgroup(self, path)


@dataclass(frozen=True)
class FakeImage:
    id: str = "sha256:" + "1" * 64
    repo_digests: tuple[str, ...] = ()
    config: ImageConfig = field(default_factory=lambda: ImageConfig(cmd=("true",)))


@dataclass
class FakeImages:
    root: Path
    gate: asyncio.Event | None = None
    mounting: asyncio.Event = field(default_factory=asyncio.Event)
    labels: list[str] = field(default_factory=list)  #: SELinux labels of root filesystems

    def find(self, name: str) -> FakeImage:
        return FakeImage()

    async def mount_rootfs(self, image_id: str, directory: Path, *, label: str = "", **_: object) -> int:
        self.labels.append(label)
        self.mounting.set()
        if self.gate:
            await self.gate.wait()
        os.makedirs(directory, exist_ok=True)
        return os.open(self.root, os.O_PATH)


@dataclass
class FakeNetworks:
    deleted: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    async def delete(self, attachment: Any) -> None:
        self.deleted.append(attachment.sandbox_id)
        if self.failures:
            raise self.failures.pop(0)


@dataclass
class FakeLauncher:
    daemon: Daemon
    forked: list[FakeShim] = field(default_factory=list)
    failure: Exception | None = None

    async def fork_shim(self, sandbox_id: str, directory: str, adopt: Any = None) -> FakeShim:
        if self.failure:
            raise self.failure
        shim = FakeShim(self.daemon, sandbox_id)
        for container in adopt.containers if adopt else ():
            shim.containers[container.container_id] = "running" if container.started else "created"
        self.forked.append(shim)
        return shim


def make_daemon(directory: Path) -> Daemon:
    settings = with_derived(Settings(root=directory / "root", runroot=directory / "run"))
    database_directory = directory / "root"
    for part in ("root/containers", "run/sandboxes", "run/bundles"):
        (directory / part).mkdir(parents=True)
    database = open_database(database_directory / "state.db")
    migrate(database, "cri", store.MIGRATIONS)
    daemon = Daemon(settings, Metrics(), database)
    parts = cast(Any, daemon)
    parts.trash = Trash(directory / "root" / "trash")
    parts.cgroups = FakeCgroups()
    parts.pod_cgroups = PlainPods("/coracle")
    parts.images = FakeImages(directory / "root")
    parts.networks = FakeNetworks()
    parts.launcher = FakeLauncher(daemon)
    parts.host = HostFacts(cgroup_v2=False, capabilities=(), apparmor=False)
    parts.features = Features(recursive_read_only_mounts=True, supplemental_groups_policy=True)
    parts.statistics = ContainerStatistics(daemon)
    parts.nri = Nri(daemon)
    parts.reconciler = Reconciler(daemon)
    return daemon


def pod_config(name: str = "web") -> api.PodSandboxConfig:
    """With the host's network and IPC: a pod that needs no root."""
    options = api.NamespaceOption(network=api.NODE, ipc=api.NODE, pid=api.CONTAINER)
    return api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(name=name, namespace="default", uid=name),
        linux=api.LinuxPodSandboxConfig(
            cgroup_parent="/pods", security_context=api.LinuxSandboxSecurityContext(namespace_options=options)
        ),
    )


def container_config(name: str = "main") -> api.ContainerConfig:
    options = api.NamespaceOption(network=api.NODE, ipc=api.NODE, pid=api.CONTAINER)
    return api.ContainerConfig(
        metadata=api.ContainerMetadata(name=name),
        image=api.ImageSpec(image="busybox"),
        linux=api.LinuxContainerConfig(security_context=api.LinuxContainerSecurityContext(namespace_options=options)),
    )


def add_pod(daemon: Daemon, state: SandboxState = SandboxState.READY, **facts: Any) -> tuple[SandboxRecord, FakeShim]:
    record = daemon.sandboxes.put(
        SandboxRecord(
            id=SandboxID(daemon.new_id()),
            state=state,
            config_bytes=pod_config().SerializeToString(deterministic=True),
            created_at=1,
            boot_id=facts.pop("boot_id", daemon.boot_id),
            cgroup="/pods",
            delivered=True,
            **facts,
        )
    )
    daemon.paths.sandbox(record.id).mkdir()
    shim = FakeShim(daemon, record.id)
    daemon.hold_pod(record.id, cast(Any, shim))
    return record, shim


def add_container(
    daemon: Daemon, shim: FakeShim, state: ContainerState = ContainerState.RUNNING, **facts: Any
) -> ContainerRecord:
    record = daemon.containers.put(
        ContainerRecord(
            id=ContainerID(daemon.new_id()),
            sandbox_id=SandboxID(shim.sandbox_id),
            state=state,
            config_bytes=container_config().SerializeToString(deterministic=True),
            created_at=1,
            cgroup="/pods/c",
            delivered=facts.pop("delivered", True),
            **{"pid": os.getpid(), **facts},
        )
    )
    shim.containers[record.id] = {ContainerState.EXITED: "exited", ContainerState.CREATED: "created"}.get(
        state, "running"
    )
    live = daemon.hold_container(record.id, ContainerHandles(pid=record.pid))
    if state is ContainerState.EXITED:
        live.exited.set()
    return record


def exit_event(container_id: str, status: int = KILLED, oom_kills: int = 0) -> ContainerExited:
    return ContainerExited(container_id=container_id, pid=1, status=status, finished_at=7, oom_kills=oom_kills)


async def until(holds: Callable[[], object]) -> None:
    """Let the others run until it is so; the test's own timeout ends what never will be."""
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come true")
