"""Pods for tests of the shim alone: real launcher, shim and executor, a busybox for a root file system, no CRI."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cri.shims import (
    ContainerCreate,
    ContainerExited,
    ContainerHandles,
    ExecStart,
    Launcher,
    SandboxNamespaces,
    SandboxSetup,
    Shim,
    ShimEvent,
    ShimGone,
    close_descriptors,
)
from oci import cgroups, netns
from oci.spec import Process
from tests.descriptors import open_files

BUSYBOX = "/bin/busybox"
CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE"]
MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
]


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process decides when
            await asyncio.sleep(0.002)


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def process_name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def traces() -> list[str]:
    """What these tests could leave: descriptors of ours, processes, directories, names, mounts, cgroups."""
    found = [f"fd {each}" for each in open_files()]
    found += [f"child {pid}" for pid in children_of(os.getpid())]
    found += [str(path) for path in Path("/run").glob("shimtest-*")]
    found += [str(path) for path in Path("/run/netns").glob("shimtest-*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "shimtest-" in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob("*/shimtest-*")]
    return sorted(found)


@asynccontextmanager
async def clean_launcher() -> AsyncIterator[Launcher]:
    """A launcher that runs; when it has ended, nothing is left of it and of what was made with it."""
    before = traces()
    launcher = Launcher()
    await launcher.start()
    yield launcher
    await launcher.close()
    assert traces() == before


def make_rootfs(directory: Path) -> Path:
    rootfs = directory / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    for name in ("proc", "dev", "sys", "tmp", "etc"):
        (rootfs / name).mkdir()
    shutil.copy(BUSYBOX, rootfs / "bin" / "busybox")
    for applet in ("sh", "sleep", "echo", "true", "cat", "seq", "ps", "hostname", "stty", "yes", "kill", "id", "ls"):
        (rootfs / "bin" / applet).symlink_to("busybox")
    return rootfs


@dataclass
class Pod:
    shim: Shim
    directory: Path
    rootfs: Path
    setup: SandboxSetup
    namespaces: SandboxNamespaces
    cgroup: str
    events: list[ShimEvent] = field(default_factory=list)
    lost: bool = False
    handles: dict[str, ContainerHandles] = field(default_factory=dict)

    def listen(self, shim: Shim) -> None:
        self.shim, self.lost = shim, False
        shim.listen(on_event=self.events.append, on_lost=self._lost)

    def _lost(self) -> None:
        self.lost = True

    def log(self, container_id: str) -> Path:
        return self.directory / f"{container_id}.log"

    def lines(self, container_id: str) -> list[str]:
        return [line.split(" ", 3)[3] for line in self.log(container_id).read_text().splitlines()]

    def bundle(self, container_id: str, args: tuple[str, ...], terminal: bool, extra: Mapping[str, Any]) -> str:
        bundle = self.directory / "bundles" / container_id
        bundle.mkdir(parents=True, exist_ok=True)
        pid_path = self.namespaces.pid_path
        namespaces = [{"type": "mount"}, {"type": "pid"} if pid_path is None else {"type": "pid", "path": pid_path}]
        sets = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
        config: dict[str, Any] = {
            "ociVersion": "1.3.0",
            "process": {
                "cwd": "/",
                "args": args,
                "env": ["PATH=/bin"],
                "terminal": terminal,
                "capabilities": sets,
                "noNewPrivileges": True,
                "oomScoreAdj": 500,
            },
            "root": {"path": str(self.rootfs)},
            "mounts": MOUNTS,
            "linux": {
                "namespaces": namespaces,
                "resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 100}},
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
                **extra,
            },
        }
        (bundle / "config.json").write_text(json.dumps(config))
        return str(bundle)

    async def create(
        self, container_id: str, *args: str, stdin: bool = False, terminal: bool = False, **extra: Any
    ) -> ContainerHandles:
        request = ContainerCreate(
            new_pid=self.namespaces.pid_path is None,
            container_id=container_id,
            bundle=self.bundle(container_id, args, terminal, extra),
            log_path=str(self.log(container_id)),
            stdin=stdin,
            cgroup_path=f"{self.cgroup}/{container_id}",
        )
        handles = await self.shim.create(request)
        self.handles[container_id] = handles
        return handles

    async def run(self, container_id: str, *args: str, stdin: bool = False, terminal: bool = False) -> ContainerHandles:
        handles = await self.create(container_id, *args, stdin=stdin, terminal=terminal)
        await self.shim.start(container_id)
        return handles

    def exit_of(self, container_id: str) -> ContainerExited | None:
        for event in self.events:
            if isinstance(event, ContainerExited) and event.container_id == container_id:
                return event
        return None

    async def exit_code(self, container_id: str) -> int:
        await until(lambda: self.exit_of(container_id))
        exit = self.exit_of(container_id)
        assert exit is not None
        return exit.exit_code

    async def execute(self, container_id: str, *args: str) -> tuple[int, str]:
        """(exit code, what it wrote)"""
        reader, writer = os.pipe()
        try:
            try:
                handle = await self.shim.exec(self.execution(container_id, *args, stdout_fd=writer, stderr_fd=writer))
            finally:
                os.close(writer)
            code = await handle.wait()
            handle.close()
            return code, await asyncio.to_thread(_read_all, reader)
        finally:
            os.close(reader)

    def execution(
        self, container_id: str, *args: str, exec_id: str | None = None, terminal: bool = False, **stdio: int | None
    ) -> ExecStart:
        sets = tuple(CAPABILITIES)
        process = Process.from_json(
            {
                "cwd": "/",
                "args": args,
                "env": ["PATH=/bin"],
                "terminal": terminal,
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), sets),
            }
        )
        return ExecStart(container_id=container_id, exec_id=exec_id or os.urandom(8).hex(), process=process, **stdio)

    async def end(self) -> None:
        try:
            state = await self.shim.describe()
            close_descriptors(state)
            for container in state.containers:
                if container.state != "exited":
                    await self.shim.kill(container.container_id, signal.SIGKILL)
                    await self.exit_code(container.container_id)
                await self.shim.delete(container.container_id)
            await self.shim.shutdown()
        except ShimGone:
            pass
        for handles in self.handles.values():
            close_descriptors(handles)
        close_descriptors(self.namespaces)
        if self.setup.netns_path is not None:
            netns.remove(self.setup.netns_path)
        cgroups.detect().open(self.cgroup).remove()


@asynccontextmanager
async def pod(launcher: Launcher, rootfs: Path, setup: SandboxSetup | None = None) -> AsyncIterator[Pod]:
    directory = Path(tempfile.mkdtemp(prefix="shimtest-", dir="/run"))
    setup = setup or SandboxSetup(hostname="pod", netns_path=f"/run/netns/shimtest-{directory.name[-8:]}")
    shim = await launcher.fork_shim("5" * 64, str(directory))
    made = Pod(shim, directory, rootfs, setup, SandboxNamespaces(), f"/{directory.name}")
    made.listen(shim)
    try:
        made.namespaces = await shim.setup(setup)
        yield made
        fault = directory / "shim.log"
        assert not fault.exists(), fault.read_text()
    finally:
        await made.end()
        shutil.rmtree(directory)


def _read_all(fd: int) -> str:
    parts = []
    while part := os.read(fd, 65536):
        parts.append(part)
    return b"".join(parts).decode()
