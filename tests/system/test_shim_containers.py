"""Launcher, shim and executor together: what happens to a container, its log and its exec'ed processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cri.shims import Attach, ContainerCreate, Launcher, SandboxSetup, close_descriptors
from oci.errors import ContainerError, SpecError
from tests.system.seccomp_agent import ANSWER, Agent
from tests.system.shim_pods import Pod, children_of, clean_launcher, make_rootfs, pod, until


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("shim"))


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    async with clean_launcher() as one:
        yield one


@pytest.fixture
async def the_pod(launcher: Launcher, rootfs: Path) -> AsyncIterator[Pod]:
    async with pod(launcher, rootfs) as one:
        yield one


class TestSeccompAgent:
    """A profile's listener goes to its agent, from the container's init and from what is executed in it."""

    async def test_agent_answers(self, the_pod: Pod, tmp_path: Path) -> None:
        agent = Agent(tmp_path / "agent")
        try:
            program = ("sh", "-c", "cd /bin; sleep 1000")
            handles = await the_pod.create("c", *program, seccomp=agent.profile("chdir"))
            assert agent.told == []
            await the_pod.shim.start("c")
            await until(lambda: the_pod.log("c").read_text())
            assert os.strerror(ANSWER) in the_pod.log("c").read_text()
            status, text = await the_pod.execute("c", "sh", "-c", "cd /bin")
            assert status != 0
            assert os.strerror(ANSWER) in text
            first, second = agent.told
            assert (first["pid"], first["metadata"], first["fds"]) == (handles.pid, "some data", ["seccompFd"])
            assert (first["state"]["id"], first["state"]["status"]) == ("c", "creating")
            assert (second["state"]["pid"], second["state"]["status"]) == (handles.pid, "running")
            assert second["pid"] != handles.pid
            await the_pod.shim.kill("c", signal.SIGKILL)
            await the_pod.exit_code("c")
        finally:
            agent.close()

    async def test_missing_agent_fails_the_start(self, the_pod: Pod, tmp_path: Path) -> None:
        profile = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(tmp_path / "nobody"),
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
        }
        await the_pod.create("c", "sleep", "1000", seccomp=profile)
        with pytest.raises(ContainerError, match="nobody: No such file or directory"):
            await the_pod.shim.start("c")
        assert await the_pod.exit_code("c") == 137


class TestContainer:
    async def test_life(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sh", "-c", "hostname; id -u; echo gone >&2; exit 3")
        assert await the_pod.exit_code("c") == 3
        assert sorted(the_pod.lines("c")) == ["0", "gone", "pod"]

    async def test_output_is_whole_when_the_exit_is_told(self, the_pod: Pod) -> None:
        await the_pod.run("c", "seq", "1", "100000")
        assert await the_pod.exit_code("c") == 0
        assert the_pod.lines("c") == [str(number) for number in range(1, 100_001)]

    async def test_terminal(self, the_pod: Pod) -> None:
        handles = await the_pod.create("c", "sh", "-c", "stty size; read x; echo got $x; exit 4", terminal=True)
        assert handles.console_fd is not None
        await the_pod.shim.resize("c", width=90, height=25)
        await the_pod.shim.start("c")
        os.write(handles.console_fd, b"it\n")
        assert await the_pod.exit_code("c") == 4
        assert sorted(line.rstrip("\r") for line in the_pod.lines("c")) == ["25 90", "got it", "it"]

    async def test_reopened_log(self, the_pod: Pod) -> None:
        handles = await the_pod.run("c", "cat", stdin=True)
        assert handles.stdin_fd is not None
        log = the_pod.log("c")
        os.write(handles.stdin_fd, b"one\n")
        await until(lambda: log.read_text())
        log.rename(log.with_suffix(".1"))
        await the_pod.shim.reopen_log("c")
        os.write(handles.stdin_fd, b"two\n")
        await until(lambda: log.read_text())
        assert the_pod.lines("c") == ["two"]

    async def test_program_that_does_not_exist(self, the_pod: Pod) -> None:
        await the_pod.create("c", "/no/such/program")
        with pytest.raises(ContainerError, match="/no/such/program") as caught:
            await the_pod.shim.start("c")
        assert caught.value.not_found
        assert await the_pod.exit_code("c") == 127

    async def test_failed_create_leaves_nothing(self, the_pod: Pod) -> None:
        with pytest.raises(SpecError):
            await the_pod.create("c", "true", resources={"memory": {"limit": "much"}})
        with pytest.raises((ContainerError, SpecError)):
            await the_pod.create("d", "true", namespaces=[{"type": "mount"}, {"type": "pid", "path": "/no/such"}])
        state = await the_pod.shim.describe()
        close_descriptors(state)
        assert state.containers == ()
        await until(lambda: not children_of(the_pod.shim.pid))

    async def test_out_of_memory(self, the_pod: Pod) -> None:
        await the_pod.create(
            "c",
            "sh",
            "-c",
            "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done",
            resources={"memory": {"limit": 16 << 20}},
        )
        await the_pod.shim.start("c")
        assert await the_pod.exit_code("c") == 137
        exit = the_pod.exit_of("c")
        assert exit is not None
        assert exit.oom_killed

    async def test_attached_client_gets_a_copy(self, the_pod: Pod) -> None:
        handles = await the_pod.run("c", "cat", stdin=True)
        assert handles.stdin_fd is not None
        reader, writer = os.pipe()
        await the_pod.shim.attach(Attach(container_id="c", stdout_fd=writer))
        os.close(writer)
        os.write(handles.stdin_fd, b"hello\n")
        assert await asyncio.to_thread(os.read, reader, 100) == b"hello\n"
        os.close(reader)
        await until(lambda: the_pod.log("c").read_text())
        assert the_pod.lines("c") == ["hello"]

    async def test_kill_everything_in_the_cgroup(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sh", "-c", "sleep 100 & sleep 100 & wait")
        await the_pod.shim.kill("c", signal.SIGKILL, all=True)
        assert await the_pod.exit_code("c") == 137


class TestExec:
    async def test_round_trip(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "100")
        assert await the_pod.execute("c", "sh", "-c", "hostname; exit 9") == (9, "pod\n")

    async def test_in_the_containers_cgroup(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "100")
        _, text = await the_pod.execute("c", "cat", "/proc/self/cgroup")
        assert f"{the_pod.cgroup}/c" in text

    async def test_program_that_does_not_exist(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "100")
        with pytest.raises(ContainerError) as caught:
            await the_pod.execute("c", "/no/such/program")
        assert caught.value.not_found

    async def test_many_at_once(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "100")
        results = await asyncio.gather(*(the_pod.execute("c", "sh", "-c", f"exit {n}") for n in range(20)))
        assert [code for code, _ in results] == list(range(20))

    async def test_killed_exec_leaves_no_zombie(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "100")
        handle = await the_pod.shim.exec(the_pod.execution("c", "sleep", "100"))
        await handle.kill(signal.SIGKILL)
        assert await handle.wait() == 137
        handle.close()
        _, text = await the_pod.execute("c", "ps", "-o", "stat,comm")
        assert "Z" not in text
        await until(lambda: len(children_of(the_pod.shim.pid)) == 1)

    async def test_terminal(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "100")
        handle = await the_pod.shim.exec(the_pod.execution("c", "sh", "-c", "read x; echo got $x", terminal=True))
        assert handle.console_fd is not None
        os.write(handle.console_fd, b"it\n")
        assert await handle.wait() == 0
        said = b""
        while b"got it" not in said:  # the terminal may hand out the echo first
            said += os.read(handle.console_fd, 1000)
        handle.close()


class TestSandbox:
    async def test_namespaces_are_the_pods(self, the_pod: Pod) -> None:
        await the_pod.run("a", "sleep", "100")
        await the_pod.run("b", "sleep", "100")
        for kind in ("net", "ipc", "uts"):
            links = {os.readlink(f"/proc/{the_pod.handles[name].pid}/ns/{kind}") for name in ("a", "b")}
            assert len(links) == 1
            assert links != {os.readlink(f"/proc/self/ns/{kind}")}
        assert the_pod.setup.netns_path is not None
        assert os.stat(the_pod.setup.netns_path).st_ino == os.stat(f"/proc/{the_pod.handles['a'].pid}/ns/net").st_ino

    async def test_host_namespaces(self, launcher: Launcher, rootfs: Path) -> None:
        async with pod(launcher, rootfs, SandboxSetup(network=False, ipc=False, uts=False)) as one:
            handles = await one.run("c", "sleep", "100")
            for kind in ("net", "ipc", "uts"):
                assert os.readlink(f"/proc/{handles.pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")

    async def test_shared_pid_namespace(self, launcher: Launcher, rootfs: Path) -> None:
        async with pod(launcher, rootfs, SandboxSetup(hostname="pod", shared_pid=True)) as one:
            await one.run("a", "sleep", "111")
            await one.run("b", "sh", "-c", "(sleep 0.05 &) ; exec sleep 222")
            _, text = await one.execute("a", "ps")
            assert "sleep 222" in text
            assert "coracle-init" in text
            code, text = await one.execute("a", "sh", "-c", "kill -TERM 1; ls /proc/1/root 2>&1; ls /proc/1/fd")
            assert code == 0
            assert text == "ls: /proc/1/root: Permission denied\n"
            await asyncio.sleep(0.2)
            _, text = await one.execute("a", "ps", "-o", "stat,comm")
            assert "Z" not in text

    async def test_init_that_dies_takes_the_pod_with_it(self, launcher: Launcher, rootfs: Path) -> None:
        async with pod(launcher, rootfs, SandboxSetup(shared_pid=True)) as one:
            await one.run("a", "sleep", "111")
            assert one.namespaces.init_pid is not None
            os.kill(one.namespaces.init_pid, signal.SIGKILL)
            assert await one.exit_code("a") == 137
            await until(lambda: "init_exited" in [event.KIND for event in one.events])

    async def test_sysctls(self, launcher: Launcher, rootfs: Path) -> None:
        setup = SandboxSetup(sysctls={"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shmmni": "77"})
        async with pod(launcher, rootfs, setup) as one:
            await one.run("c", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shmmni")
            assert await one.exit_code("c") == 0
            assert one.lines("c") == ["7", "77"]

    async def test_sysctl_of_the_host_is_refused(self, launcher: Launcher, rootfs: Path) -> None:
        with pytest.raises(SpecError, match=r"kernel\.core_pattern"):
            async with pod(launcher, rootfs, SandboxSetup(sysctls={"kernel.core_pattern": "|/bin/evil"})):
                pass

    async def test_container_pipes_survive_a_full_log_disk(self, the_pod: Pod) -> None:
        request = ContainerCreate(
            container_id="c",
            bundle=the_pod.bundle("c", ("sh", "-c", "seq 1 50000; echo done"), False, {}),
            log_path="/dev/full",
        )
        the_pod.handles["c"] = await the_pod.shim.create(request)
        await the_pod.shim.start("c")
        assert await the_pod.exit_code("c") == 0


def test_the_shims_socket_is_for_its_user_alone(tmp_path: Path) -> None:
    from oci.shim.address import listen

    with listen(str(tmp_path)) as sock:
        assert sock.family is socket.AF_UNIX
        assert (tmp_path / "shim.sock").stat().st_mode & 0o777 == 0o600
