"""e2e.vm: the guest's agent and the host's client, talking to each other without a guest."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.vm import client
from e2e.vm.client import CommandTimeout, GuestGone

_AGENT = Path(client.__file__).parent / "agent.py"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, "-I", "-S", str(_AGENT), str(number)]) as agent:
        while True:
            try:
                client.run(number, ["true"], cwd="/")
                break
            except GuestGone:
                assert agent.poll() is None
                time.sleep(0.02)
        yield number
        agent.kill()


def test_output_status_environment_and_directory(port: int) -> None:
    script = 'printf "$WORD"; pwd >&2; exit 3'
    done = client.run(port, ["sh", "-c", script], env={"WORD": "hello"}, cwd="/usr")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"hello", b"/usr\n")


def test_stdin_and_much_output(port: int) -> None:
    data = bytes(range(256)) * 4000
    assert client.run(port, ["cat"], cwd="/", stdin=data).stdout == data


def test_a_signal_is_told_as_shells_do(port: int) -> None:
    assert client.run(port, ["sh", "-c", "kill -9 $$"], cwd="/").returncode == 137


def test_what_cannot_be_run_is_told(port: int) -> None:
    done = client.run(port, ["/nowhere"], cwd="/")
    assert (done.returncode, b"cannot run" in done.stderr) == (127, True)


def test_a_daemon_left_behind_does_not_hold_the_answer(port: int) -> None:
    done = client.run(port, ["sh", "-c", "sleep 60 & echo $!"], cwd="/", timeout=30)
    subprocess.run(["kill", done.stdout.decode().strip()], check=True)


def test_a_command_that_takes_too_long_is_killed(port: int, tmp_path: Path) -> None:
    with pytest.raises(CommandTimeout):
        client.run(port, ["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60"], cwd="/", timeout=0.5)
    pid = (tmp_path / "pid").read_text().strip()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nobody_there() -> None:
    with pytest.raises(GuestGone):
        client.run(1, ["true"])
