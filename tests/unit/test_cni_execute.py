"""One plugin process: its answer, its errors, and its end."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from pathlib import Path

import pytest

from cni.chain import Invocation, Verb
from cni.errors import PluginError, PluginFailed
from cni.execute import execute, find_plugin
from tests.fake_plugins import FakePlugins, failing


@pytest.fixture
def plugins(tmp_path: Path) -> FakePlugins:
    return FakePlugins(tmp_path)


async def run(plugins: FakePlugins, script: str, seconds: float = 20) -> bytes:
    plugins.add("p", ADD=script)
    invocation = Invocation(plugin="p", verb=Verb.ADD, environment={"CNI_COMMAND": "ADD"}, stdin=b'{"a":1}')
    inherited = {"PATH": os.environ["PATH"], "CNI_IFNAME": "old", "NOTIFY_SOCKET": "x", "HTTP_PROXY": "p"}
    return await execute(invocation, [str(plugins.bin)], inherited, seconds)


async def test_the_answer_and_what_the_plugin_saw(plugins: FakePlugins) -> None:
    output = await run(plugins, "echo answer $HTTP_PROXY $NOTIFY_SOCKET")
    assert output == b"answer p\n"
    (call,) = plugins.calls()
    assert call.environment == {"CNI_COMMAND": "ADD"}
    assert call.stdin == {"a": 1}


async def test_an_error_carries_the_plugins_own_words(plugins: FakePlugins) -> None:
    with pytest.raises(PluginError, match=r'plugin "p" failed \(ADD, code 7\): no address left; 10/8') as info:
        await run(plugins, failing("no address left", 7, "10/8"))
    assert (info.value.code, info.value.message, info.value.details) == (7, "no address left", "10/8")


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo oops >&2; exit 3", "exit status 3: oops"),
        ("echo '[]'; exit 3", r"exit status 3: \[\]"),
        ("exit 4", "exit status 4"),
        ("kill -9 $$", "killed by signal 9"),
    ],
)
async def test_what_a_plugin_without_words_did(plugins: FakePlugins, script: str, problem: str) -> None:
    with pytest.raises(PluginFailed, match=problem):
        await run(plugins, script)


async def test_a_hanging_plugin_is_killed_with_its_children(plugins: FakePlugins, tmp_path: Path) -> None:
    with pytest.raises(PluginFailed, match=r"no answer within 0\.2 s"):
        await run(plugins, f"sleep 60 & echo $! > {tmp_path}/child; wait", 0.2)
    with pytest.raises(PluginFailed, match=r"no answer within 0\.2 s"):
        await run(plugins, f"sleep 60 & echo $! > {tmp_path}/orphan; exit 0", 0.2)
    for name in ("child", "orphan"):
        assert _ends(int((tmp_path / name).read_text()))


def _ends(pid: int) -> bool:
    """Waits for the end of a process that is not our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 10)[0])
    finally:
        os.close(pidfd)


async def test_endless_output_is_cut_off(plugins: FakePlugins) -> None:
    with pytest.raises(PluginFailed, match="more than 4194304 bytes of output"):
        await run(plugins, "yes")


async def test_a_child_that_fled_with_the_pipes_does_not_hold_us(plugins: FakePlugins, tmp_path: Path) -> None:
    with pytest.raises(PluginFailed, match=r"no answer within 0\.3 s"):
        await run(plugins, f"setsid sh -c 'echo $$ > {tmp_path}/fled; exec sleep 60' & exit 0", 0.3)
    os.kill(int((tmp_path / "fled").read_text()), signal.SIGKILL)


async def test_cancelling_kills_the_plugin(plugins: FakePlugins, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.create_task(run(plugins, f"echo $$ > {fifo}; sleep 60"))
    pid = int(await asyncio.to_thread(fifo.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _ends(pid)


async def test_much_stderr_does_not_block(plugins: FakePlugins) -> None:
    assert await run(plugins, "head -c 300000 /dev/zero >&2; echo fine") == b"fine\n"


async def test_a_plugin_may_ignore_its_stdin(plugins: FakePlugins) -> None:
    path = plugins.bin / "deaf"
    path.write_text("#!/bin/sh\nexec 0<&-\necho fine\n")
    path.chmod(0o755)
    invocation = Invocation(plugin="deaf", verb=Verb.ADD, environment={}, stdin=b"x" * 300_000)
    assert await execute(invocation, [str(plugins.bin)], dict(os.environ), 20) == b"fine\n"


async def test_missing_and_broken_binaries(plugins: FakePlugins) -> None:
    invocation = Invocation(plugin="none", verb=Verb.DEL, environment={}, stdin=b"")
    with pytest.raises(PluginFailed, match=r'plugin "none" failed \(DEL\): no such plugin in /a, /b'):
        await execute(invocation, ["/a", "/b"], {}, 1)
    broken = plugins.bin / "none"
    broken.write_text("#!/no/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(PluginFailed, match="No such file"):
        await execute(invocation, [str(plugins.bin)], {}, 1)


def test_only_executable_files_are_plugins(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").touch(mode=0o644)
    (tmp_path / "c").touch(mode=0o755)
    found = [find_plugin(name, ["/nowhere", str(tmp_path)]) for name in "abcd"]
    assert found == [None, None, str(tmp_path / "c"), None]
