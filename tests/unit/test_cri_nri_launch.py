"""Plugins that the daemon starts: which files are plugins, what a plugin gets, and that it ends with the daemon."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from cri.nri import launch
from cri.nri.launch import Installed, Process, installed

REPORT = """#!{python}
import os, socket, sys
connection = socket.socket(fileno=3)
with open("/proc/self/environ", "rb") as file:
    environment = file.read()
descriptors = [fd for fd in range(3, 64) if os.path.exists(f"/proc/self/fd/{{fd}}") and fd not in (3,)]
connection.sendall(environment + b"|" + os.readlink("/proc/self/fd/0").encode() + b"|" + repr(descriptors).encode())
connection.recv(1)
{ending}
"""


def plugin(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_plugins_are_the_executables_with_an_index(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugins, config = tmp_path / "plugins", tmp_path / "conf.d"
    config.mkdir()
    (config / "10-first.conf").write_text("own")
    (config / "first.conf").write_text("not this")
    (config / "second.conf").write_text("shared")
    for name in ("20-second", "10-first", "30-third-with-dashes", "no-index", "4-short"):
        plugin(plugins / name)
    plugin(plugins / "50-not-executable", mode=0o644)
    (plugins / "60-directory").mkdir()
    found = installed(plugins, config)
    assert [(p.index, p.name, p.config) for p in found] == [
        ("10", "first", "own"),
        ("20", "second", "shared"),
        ("30", "third-with-dashes", ""),
    ]
    assert "no-index" in caplog.text
    assert "4-short" in caplog.text


def test_no_directory_is_no_plugin(tmp_path: Path) -> None:
    assert installed(tmp_path / "none", tmp_path) == []


def test_a_configuration_that_cannot_be_read_keeps_its_plugin_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugin(tmp_path / "plugins" / "10-odd")
    (tmp_path / "10-odd.conf").write_bytes(b"\xff\xfe")
    assert installed(tmp_path / "plugins", tmp_path) == []
    assert "10-odd" in caplog.text


def started(path: Path) -> Process:
    return Process(Installed(path=path, index="10", name="report", config=""))


async def hear(connection: socket.socket) -> bytes:
    connection.setblocking(False)
    return await asyncio.get_running_loop().sock_recv(connection, 65536)


async def test_a_plugin_gets_the_socket_its_name_and_nothing_else(tmp_path: Path) -> None:
    path = plugin(tmp_path / "10-report", REPORT.format(python=sys.executable, ending=""))
    process = started(path)
    with process.socket as connection:
        environment, stdin, descriptors = (await hear(connection)).split(b"|")
        assert set(environment.strip(b"\0").split(b"\0")) == {
            b"NRI_PLUGIN_NAME=report",
            b"NRI_PLUGIN_IDX=10",
            b"NRI_PLUGIN_SOCKET=3",
        }
        assert (stdin, descriptors) == (b"/dev/null", b"[]")
    await process.stop()


async def test_a_plugin_that_ignores_the_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_GRACE_S", 0.05)
    ending = "import signal, time; signal.signal(15, signal.SIG_IGN); connection.sendall(b'.'); time.sleep(60)"
    path = plugin(tmp_path / "10-report", REPORT.format(python=sys.executable, ending=ending))
    process = started(path)
    with process.socket as connection:
        await hear(connection)
        connection.send(b".")
        await hear(connection)
    await process.stop()
    monkeypatch.setattr(launch, "_GRACE_S", 10.0)
    async with asyncio.timeout(10):
        await process._ended.wait()


def test_a_plugin_that_cannot_be_executed_is_an_error(tmp_path: Path) -> None:
    path = plugin(tmp_path / "10-report", "#!/no/such/interpreter\n")
    with pytest.raises(OSError, match="No such file"):
        started(path)
