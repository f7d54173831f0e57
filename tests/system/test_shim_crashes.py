"""What dies and what stays: daemon, launcher, shim, each killed in the middle of things."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cri.shims import AdoptContainer, AdoptSandbox, AdoptState, Launcher, SandboxSetup, Shim, close_descriptors
from oci.protocol.messages import SandboxNamespaces
from oci.shim import records
from oci.syscalls import F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE
from tests.system.shim_pods import Pod, clean_launcher, make_rootfs, pod, process_name, until


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("shim"))


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    async with clean_launcher() as one:
        yield one


def adopt_state(one: Pod, *names: str) -> AdoptState:
    held = {name: getattr(one.namespaces, name) for name in (*SandboxNamespaces.FDS, "init_pid")}
    containers = []
    for name in names:
        handles = one.handles[name]
        assert handles.pidfd is not None
        containers.append(
            AdoptContainer(
                container_id=name,
                bundle=str(one.directory / "bundles" / name),
                started=True,
                log_path=str(one.log(name)),
                cgroup_path=f"{one.cgroup}/{name}",
                pid=handles.pid,
                pidfd=handles.pidfd,
                stdout_fd=handles.stdout_fd,
                stderr_fd=handles.stderr_fd,
                stdin_fd=handles.stdin_fd,
                console_fd=handles.console_fd,
            )
        )
    return AdoptState(sandbox=AdoptSandbox(**held), containers=containers)


F_GET_SEALS = 1034
COUNTER = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.002; done; exit 5"


async def test_daemon_dies_and_comes_back(launcher: Launcher, rootfs: Path) -> None:
    async with pod(launcher, rootfs) as one:
        await one.run("c", "sh", "-c", COUNTER)
        await one.run("d", "sleep", "100")
        await until(lambda: "20" in one.lines("c"))
        one.shim.disconnect()
        record = one.directory / "c.exit"
        await until(record.exists)
        again = await Shim.connect(one.shim.sandbox_id, str(one.directory))
        assert again.pid == one.shim.pid
        one.listen(again)
        state = await again.describe()
        close_descriptors(state)
        known = {container.container_id: container for container in state.containers}
        exit = known["c"].exit
        assert exit is not None
        assert exit.exit_code == 5
        assert exit == records.read(str(one.directory), "c")
        assert known["d"].state == "running"
        assert one.lines("c") == [str(number) for number in range(1, 301)]
        handles = await again.handles("d")
        assert handles.pid == one.handles["d"].pid
        close_descriptors(handles)
        assert await one.execute("d", "echo", "hi") == (0, "hi\n")
        one.events.append(exit)


async def test_launcher_dies(launcher: Launcher, rootfs: Path) -> None:
    async with pod(launcher, rootfs) as one:
        await one.run("c", "sleep", "100")
        first = launcher.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: launcher.pid not in (None, first))
        assert await one.execute("c", "echo", "hi") == (0, "hi\n")
        async with pod(launcher, rootfs) as other:
            await other.run("c", "true")
            assert await other.exit_code("c") == 0


@pytest.mark.parametrize("shared_pid", [False, True])
async def test_shim_dies(launcher: Launcher, rootfs: Path, shared_pid: bool) -> None:
    async with pod(launcher, rootfs, SandboxSetup(hostname="pod", shared_pid=shared_pid)) as one:
        await one.run("c", "sh", "-c", COUNTER)
        await one.run("d", "sleep", "100")
        await until(lambda: "20" in one.lines("c"))
        dead = one.shim
        os.kill(dead.pid, signal.SIGKILL)
        await until(lambda: one.lost)
        await asyncio.sleep(0.05)
        one.listen(await launcher.fork_shim(dead.sandbox_id, str(one.directory), adopt_state(one, "c", "d")))
        assert one.shim.pid != dead.pid
        assert await one.execute("d", "hostname") == (0, "pod\n")
        assert await one.exit_code("c") == 5
        # At most what the dead shim had read and not written yet is lost: here, nothing can be.
        numbers = [int(line) for line in one.lines("c")]
        assert numbers == list(range(1, 301))
        await one.run("e", "hostname")
        assert await one.exit_code("e") == 0
        assert one.lines("e") == ["pod"]


async def test_shim_dies_and_so_does_its_container(launcher: Launcher, rootfs: Path) -> None:
    async with pod(launcher, rootfs) as one:
        await one.run("c", "sh", "-c", "trap 'exit 7' TERM; while true; do sleep 0.01; done")
        await asyncio.sleep(0.1)
        os.kill(one.shim.pid, signal.SIGKILL)
        await until(lambda: one.lost)
        pidfd = one.handles["c"].pidfd
        assert pidfd is not None
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        await asyncio.sleep(0.1)
        one.listen(await launcher.fork_shim(one.shim.sandbox_id, str(one.directory), adopt_state(one, "c")))
        assert await one.exit_code("c") == 7


async def test_exec_outlives_the_shim(launcher: Launcher, rootfs: Path) -> None:
    async with pod(launcher, rootfs) as one:
        await one.run("c", "sleep", "100")
        handle = await one.shim.exec(one.execution("c", "sh", "-c", "sleep 0.2; exit 6"))
        os.kill(one.shim.pid, signal.SIGKILL)
        assert await handle.wait() == 6
        handle.close()
        one.listen(await launcher.fork_shim(one.shim.sandbox_id, str(one.directory), adopt_state(one, "c")))


async def test_names(launcher: Launcher, rootfs: Path) -> None:
    async with pod(launcher, rootfs, SandboxSetup(shared_pid=True)) as one:
        assert launcher.pid is not None
        assert process_name(launcher.pid) == "coracle-launch"
        assert process_name(one.shim.pid) == "coracle-shim"
        assert one.namespaces.init_pid is not None
        assert process_name(one.namespaces.init_pid) == "coracle-init"


async def test_launcher_runs_from_a_sealed_copy(launcher: Launcher) -> None:
    path = f"/proc/{launcher.pid}/exe"
    assert "memfd:" in os.readlink(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert fcntl.fcntl(fd, F_GET_SEALS) == F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
    finally:
        os.close(fd)


async def test_shim_holds_no_descriptor_that_is_not_its_own(launcher: Launcher, rootfs: Path) -> None:
    async with pod(launcher, rootfs) as first, pod(launcher, rootfs) as second:
        await until(lambda: open_descriptors(first) == open_descriptors(second))
        before = open_descriptors(second)
        for _ in range(5):
            await second.run("c", "echo", "hi")
            await second.exit_code("c")
            await second.shim.delete("c")
            second.events.clear()
            close_descriptors(second.handles.pop("c"))
        await until(lambda: open_descriptors(second) == before)


def open_descriptors(one: Pod) -> int:
    return len(os.listdir(f"/proc/{one.shim.pid}/fd"))
