"""The shim and its client against each other, over real sockets, without root: what the verbs promise."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cri.shims import Attach, ContainerCreate, ExecStart, Shim, ShimGone, close_descriptors
from oci.errors import ContainerError, ContainerExists, ContainerNotFound, SpecError, StateError
from oci.protocol.messages import ContainerExited, ExecExited, LogDropped
from oci.shim import records
from oci.spec import Process
from tests.contract.shim_fakes import Pod, fork_shim, kill_tree, pod
from tests.descriptors import open_descriptors


@pytest.fixture
async def the_pod(tmp_path: Path) -> AsyncIterator[Pod]:
    before = open_descriptors()
    async with pod(tmp_path) as one:
        yield one
    assert not (tmp_path / "shim.log").exists(), (tmp_path / "shim.log").read_text()
    assert open_descriptors() == before


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another process decides when
            await asyncio.sleep(0.002)


def contents(log: Path) -> list[tuple[str, str, str]]:
    """(stream, tag, content)"""
    lines = [line.split(" ", 3) for line in log.read_text().splitlines()]
    return [(stream, tag, content) for _, stream, tag, content in lines]


def execution(*args: str, exec_id: str = "e1", stdout_fd: int | None = None, stdin_fd: int | None = None) -> ExecStart:
    return ExecStart(
        container_id="c", exec_id=exec_id, process=Process(cwd="/", args=args), stdout_fd=stdout_fd, stdin_fd=stdin_fd
    )


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_for(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


class TestContainer:
    async def test_life(self, the_pod: Pod, tmp_path: Path) -> None:
        log = tmp_path / "c.log"
        handles = await the_pod.create("c", "sh", "-c", "echo out; echo err >&2; exit 3", log=log)
        state = (await the_pod.shim.describe()).containers[0]
        assert (state.state, state.pid) == ("created", handles.pid)
        await the_pod.shim.start("c")
        await until(lambda: the_pod.exit_of("c"))
        exit = the_pod.exit_of("c")
        assert exit is not None
        assert (exit.exit_code, exit.pid, exit.oom_killed) == (3, handles.pid, False)
        assert records.read(str(tmp_path), "c") == exit
        assert sorted(contents(log)) == [("stderr", "F", "err"), ("stdout", "F", "out")]
        await the_pod.shim.delete("c")
        assert (await the_pod.shim.describe()).containers == ()
        assert records.read(str(tmp_path), "c") is None
        close_descriptors(handles)

    async def test_log_is_whole_when_the_exit_is_told(self, the_pod: Pod, tmp_path: Path) -> None:
        log = tmp_path / "c.log"
        await the_pod.run("c", "seq", "1", "20000", log=log)
        await until(lambda: the_pod.exit_of("c"))
        assert [content for _, _, content in contents(log)] == [str(n) for n in range(1, 20001)]

    async def test_last_partial_line_is_logged(self, the_pod: Pod, tmp_path: Path) -> None:
        log = tmp_path / "c.log"
        await the_pod.run("c", "printf", "a\nb", log=log)
        await until(lambda: the_pod.exit_of("c"))
        assert contents(log) == [("stdout", "F", "a"), ("stdout", "P", "b")]

    async def test_without_log_output_is_thrown_away(self, the_pod: Pod) -> None:
        await the_pod.run("c", "seq", "1", "200000")
        await until(lambda: the_pod.exit_of("c"))

    async def test_reopened_log(self, the_pod: Pod, tmp_path: Path) -> None:
        log = tmp_path / "c.log"
        handles = await the_pod.create("c", "sh", "-c", "while read line; do echo $line; done", log=log, stdin=True)
        assert handles.stdin_fd is not None
        await the_pod.shim.start("c")
        os.write(handles.stdin_fd, b"one\n")
        await until(lambda: "one" in log.read_text())
        log.rename(tmp_path / "c.log.1")
        await the_pod.shim.reopen_log("c")
        assert log.exists()
        os.write(handles.stdin_fd, b"two\n")
        await until(lambda: "two" in log.read_text())
        assert contents(tmp_path / "c.log.1") == [("stdout", "F", "one")]
        close_descriptors(handles)
        await the_pod.shim.close_stdin("c")
        await until(lambda: the_pod.exit_of("c"))
        log.unlink()
        with pytest.raises(StateError):
            await the_pod.shim.reopen_log("c")
        assert not log.exists()

    async def test_terminal(self, the_pod: Pod, tmp_path: Path) -> None:
        log = tmp_path / "c.log"
        handles = await the_pod.create("c", "sh", "-c", "read line; stty size; echo $line", log=log, terminal=True)
        assert handles.console_fd is not None
        assert handles.stdout_fd is None
        await the_pod.shim.resize("c", width=101, height=33)
        await the_pod.shim.start("c")
        os.write(handles.console_fd, b"hello\n")
        await until(lambda: the_pod.exit_of("c"))
        close_descriptors(handles)
        assert [content for _, _, content in contents(log)] == ["hello", "33 101", "hello"]

    async def test_refused_container_leaves_nothing(self, the_pod: Pod, tmp_path: Path) -> None:
        with pytest.raises(ContainerError, match="mount /proc: Operation not permitted"):
            await the_pod.create("c", "refuse", log=tmp_path / "c.log")
        assert (await the_pod.shim.describe()).containers == ()

    async def test_container_that_cannot_be_executed(self, the_pod: Pod) -> None:
        close_descriptors(await the_pod.create("c", "/no/such/program"))
        with pytest.raises(ContainerError) as caught:
            await the_pod.shim.start("c")
        assert caught.value.not_found
        await until(lambda: the_pod.exit_of("c"))
        exit = the_pod.exit_of("c")
        assert exit is not None
        assert exit.exit_code == 127
        await the_pod.shim.delete("c")

    async def test_errors_name_the_container(self, the_pod: Pod, tmp_path: Path) -> None:
        await the_pod.run("c", "sleep", "60")
        with pytest.raises(ContainerExists, match="'c'"):
            await the_pod.create("c", "true")
        with pytest.raises(StateError, match="it is running"):
            await the_pod.shim.start("c")
        with pytest.raises(StateError, match="it is running"):
            await the_pod.shim.delete("c")
        with pytest.raises(ContainerNotFound, match="'nope'"):
            await the_pod.shim.start("nope")
        with pytest.raises(FileNotFoundError):
            await the_pod.create("d", "true", log=tmp_path / "no" / "such.log")
        await the_pod.shim.delete("nope")

    async def test_malformed_config(self, the_pod: Pod) -> None:
        bundle = the_pod.bundle("true", text="{")
        with pytest.raises(SpecError, match=r"config\.json"):
            await the_pod.shim.create(ContainerCreate(container_id="c", bundle=bundle))

    async def test_killed(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "60")
        await the_pod.shim.kill("c", signal.SIGTERM)
        await until(lambda: the_pod.exit_of("c"))
        exit = the_pod.exit_of("c")
        assert exit is not None
        assert exit.exit_code == 128 + signal.SIGTERM
        await the_pod.shim.kill("c", signal.SIGTERM)

    async def test_killed_before_it_was_started(self, the_pod: Pod) -> None:
        close_descriptors(await the_pod.create("c", "true"))
        await the_pod.shim.kill("c", signal.SIGKILL)
        await until(lambda: the_pod.exit_of("c"))
        with pytest.raises(StateError, match="it is exited"):
            await the_pod.shim.start("c")
        await the_pod.shim.delete("c")

    async def test_flooding_container_does_not_starve_the_others(self, the_pod: Pod, tmp_path: Path) -> None:
        await the_pod.run("flood", "yes")
        log = tmp_path / "c.log"
        await the_pod.run("c", "echo", "hi", log=log)
        await until(lambda: the_pod.exit_of("c"))
        assert contents(log) == [("stdout", "F", "hi")]
        await the_pod.shim.kill("flood", signal.SIGKILL)
        await until(lambda: the_pod.exit_of("flood"))

    async def test_orphans_are_reaped(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sh", "-c", "(sleep 0.05; exit 5) & exit 0")
        await until(lambda: the_pod.exit_of("c"))
        await until(lambda: not children(the_pod.shim.pid))


class TestAttach:
    async def test_copies_what_is_written_from_then_on(self, the_pod: Pod, tmp_path: Path) -> None:
        log = tmp_path / "c.log"
        handles = await the_pod.create("c", "cat", log=log, stdin=True)
        assert handles.stdin_fd is not None
        await the_pod.shim.start("c")
        reader, writer = os.pipe()
        await the_pod.shim.attach(Attach(container_id="c", stdout_fd=writer))
        os.close(writer)
        os.write(handles.stdin_fd, b"hi\n")
        assert await asyncio.to_thread(os.read, reader, 100) == b"hi\n"
        close_descriptors(handles)
        await the_pod.shim.close_stdin("c")
        assert await asyncio.to_thread(os.read, reader, 100) == b""
        os.close(reader)
        assert contents(log) == [("stdout", "F", "hi")]

    async def test_client_that_does_not_read_is_cut_off(self, the_pod: Pod) -> None:
        handles = await the_pod.create("c", "sh", "-c", "read x; seq 1 200000", stdin=True)
        assert handles.stdin_fd is not None
        await the_pod.shim.start("c")
        reader, writer = os.pipe()
        await the_pod.shim.attach(Attach(container_id="c", stdout_fd=writer, buffer=100_000))
        os.close(writer)
        os.write(handles.stdin_fd, b"\n")
        await until(lambda: the_pod.exit_of("c"))
        got = 0
        while chunk := await asyncio.to_thread(os.read, reader, 1 << 20):
            got += len(chunk)
        assert 0 < got <= 65536
        os.close(reader)
        close_descriptors(handles)


class TestExec:
    async def test_output_and_exit_code(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "60")
        reader, writer = os.pipe()
        handle = await the_pod.shim.exec(execution("sh", "-c", "echo hi; exit 7", stdout_fd=writer))
        os.close(writer)
        assert await handle.wait() == 7
        assert os.read(reader, 100) == b"hi\n"
        os.close(reader)
        handle.close()
        assert [type(event) for event in the_pod.events] == [ExecExited]

    async def test_refused(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "60")
        with pytest.raises(ContainerError) as caught:
            await the_pod.shim.exec(execution("/no/such/program"))
        assert caught.value.not_found

    async def test_killed_exec_is_reaped(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "60")
        handle = await the_pod.shim.exec(execution("sleep", "60"))
        await handle.kill(signal.SIGKILL)
        assert await handle.wait() == 137
        await handle.kill(signal.SIGKILL)
        handle.close()
        assert len(children(the_pod.shim.pid)) == 1

    async def test_cancelled_exec_is_killed(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "60")
        task = asyncio.create_task(the_pod.shim.exec(execution("sleep", "60")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: any(isinstance(event, ExecExited) for event in the_pod.events))

    async def test_only_in_a_running_container(self, the_pod: Pod) -> None:
        close_descriptors(await the_pod.create("c", "true"))
        with pytest.raises(StateError, match="is created"):
            await the_pod.shim.exec(execution("true"))

    async def test_outlives_its_shim(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "60")
        handle = await the_pod.shim.exec(execution("sleep", "0.2"))
        os.kill(the_pod.shim.pid, signal.SIGKILL)
        assert await handle.wait() in (0, 255)
        handle.close()
        assert the_pod.lost


class TestConnection:
    async def test_next_daemon_finds_everything(self, the_pod: Pod, tmp_path: Path) -> None:
        log = tmp_path / "c.log"
        await the_pod.run("c", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.02; done; exit 4", log=log)
        the_pod.shim.disconnect()
        await until(lambda: (tmp_path / "c.exit").exists())
        again = await Shim.connect("pod", str(tmp_path))
        assert again.pid == the_pod.shim.pid
        state = await again.describe()
        exit = state.containers[0].exit
        assert exit is not None
        assert exit.exit_code == 4
        assert [content for _, _, content in contents(log)] == list("123456789")
        again.disconnect()

    async def test_later_daemon_takes_over(self, the_pod: Pod, tmp_path: Path) -> None:
        await the_pod.run("c", "sleep", "60")
        again = await Shim.connect("pod", str(tmp_path))
        handles = await again.handles("c")
        assert handles.stdout_fd is not None
        close_descriptors(handles)
        await until(lambda: the_pod.lost)
        again.disconnect()

    async def test_probe_does_not_disturb_the_daemon(self, the_pod: Pod, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="listens there already"):
            fork_shim(tmp_path)
        await the_pod.shim.describe()
        assert not the_pod.lost

    async def test_no_shim(self, tmp_path: Path) -> None:
        with pytest.raises(ShimGone, match="holds no socket"):
            await Shim.connect("pod", str(tmp_path))
        with pytest.raises(ShimGone, match="holds no socket"):
            await Shim.connect("pod", str(tmp_path / "no"))

    async def test_dead_shim_is_told_apart_from_a_living_one(self, tmp_path: Path) -> None:
        pid, sock = fork_shim(tmp_path)
        sock.close()
        kill_tree(pid)
        with pytest.raises(ShimGone, match="nothing listens"):
            await Shim.connect("pod", str(tmp_path))
        async with pod(tmp_path) as second:
            await second.shim.describe()

    async def test_shutdown(self, tmp_path: Path) -> None:
        pid, sock = fork_shim(tmp_path)
        shim = Shim("pod", pid, sock)
        await shim.shutdown()
        assert wait_for(pid) == 0
        assert not (tmp_path / "shim.sock").exists()
        with pytest.raises(ShimGone):
            await shim.describe()

    async def test_shutdown_is_refused_while_a_container_lives(self, the_pod: Pod) -> None:
        await the_pod.run("c", "sleep", "60")
        with pytest.raises(StateError, match="the shim stays"):
            await the_pod.shim.shutdown()

    async def test_lost_shim_fails_what_waits_for_it(self, the_pod: Pod) -> None:
        os.kill(the_pod.shim.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(the_pod.shim.describe())
        await asyncio.sleep(0)
        os.kill(the_pod.shim.pid, signal.SIGKILL)
        with pytest.raises(ShimGone):
            await waiting
        assert the_pod.lost


class TestLogLimits:
    async def test_what_exceeds_the_size_is_dropped_and_told(self, the_pod: Pod, tmp_path: Path) -> None:
        log = tmp_path / "c.log"
        dropped: list[int] = []
        the_pod.shim.listen(
            on_event=lambda event: (
                dropped.append(event.dropped)
                if isinstance(event, LogDropped)
                else dropped.append(event.log_dropped)
                if isinstance(event, ContainerExited)
                else None
            ),
            on_lost=lambda: None,
        )
        handles = await the_pod.create("c", "sh", "-c", "seq 1 4000; exec sleep 60", log=log, log_size_max=100_000)
        await the_pod.shim.start("c")
        await until(lambda: dropped)
        assert log.stat().st_size <= 100_000
        assert "log limit reached" in contents(log)[-1][2]
        log.rename(tmp_path / "old.log")
        await the_pod.shim.reopen_log("c")
        await the_pod.shim.kill("c", signal.SIGKILL)
        await until(lambda: len(dropped) > 1)
        assert dropped[-1] >= dropped[0] > 0
        state = (await the_pod.shim.describe()).containers[0]
        assert state.log_dropped == dropped[-1]
        # What came after the reopening fits the new file.
        assert contents(log)[0][2] == f"coracle: log limit reached, {dropped[-1]} bytes dropped"
        close_descriptors(handles)

    async def test_the_rate_is_kept_and_the_container_never_waits(self, the_pod: Pod, tmp_path: Path) -> None:
        log = tmp_path / "c.log"
        await the_pod.run("c", "seq", "1", "100000", log=log, log_rate_limit=50_000)
        await until(lambda: the_pod.exit_of("c"))
        exit = the_pod.exit_of("c")
        assert exit is not None
        assert exit.exit_code == 0
        assert exit.log_dropped > 0
        marks = [int(text.split()[4]) for _, _, text in contents(log) if text.startswith("coracle:")]
        assert sum(marks) == exit.log_dropped
