"""checkpoint and restore of the command line, and what they say where CRIU is missing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.pods import until
from tests.system.criu_here import reason_against
from tests.system.oci_command import Command, clean_command
from tests.system.shim_pods import make_rootfs

needs_criu = pytest.mark.skipif(bool(reason_against()), reason=reason_against())
# CRIU cannot give a process another file in the place of one like those that this command line writes to.
COUNTER = ("sh", "-c", "exec > /dev/null 2>&1; i=0; while :; do i=$((i+1)); echo $i >> /data/out; sleep 0.02; done")


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    make_rootfs(bundle)
    with clean_command(bundle, tmp_path / "state") as made:
        yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def add_volume(command: Command, source: Path) -> None:
    path = command.bundle / "config.json"
    document = json.loads(path.read_text())
    document["mounts"].append({"destination": "/data", "type": "bind", "source": str(source), "options": ["bind"]})
    path.write_text(json.dumps(document))


@pytest.fixture
def counter(command: Command, tmp_path: Path) -> Callable[[], list[int]]:
    """Runs the container `one`, whose numbers go into a volume."""
    data = tmp_path / "data"
    data.mkdir()
    command.config(*COUNTER)
    add_volume(command, data)

    def numbers() -> list[int]:
        return [int(line) for line in (data / "out").read_text().split()] if (data / "out").exists() else []

    command("run", "--detach", "one")
    until(lambda: len(numbers()) > 5)
    return numbers


@needs_criu
def test_a_container_goes_on_where_it_was(command: Command, counter: Callable[[], list[int]], tmp_path: Path) -> None:
    images = str(tmp_path / "images")
    command("checkpoint", "--image-path", images, "one")
    assert "does not exist" in command("state", "one", check=False).stderr
    at = counter()[-1]
    pid_file = tmp_path / "pid"
    command("restore", "--detach", "--image-path", images, "--pid-file", str(pid_file), "two")
    until(lambda: counter()[-1] > at + 5)
    assert counter() == list(range(1, len(counter()) + 1))
    state = command.state("two")
    assert (state["status"], state["pid"]) == ("running", int(pid_file.read_text()))
    assert int(pid_file.read_text()) in [int(pid) for pid in command("ps", "two").stdout.split()[1:]]
    assert command("exec", "two", "echo", "in").stdout == "in\n"
    command("kill", "two", "KILL")
    until(lambda: command.state("two")["status"] == "stopped")
    assert not os.path.exists(command.root / "two" / "restore")


@needs_criu
def test_leave_running_and_paused(command: Command, counter: Callable[[], list[int]], tmp_path: Path) -> None:
    command("checkpoint", "--image-path", str(tmp_path / "a"), "--leave-running", "one")
    at = len(counter())
    until(lambda: len(counter()) > at + 3)
    command("pause", "one")
    command("checkpoint", "--image-path", str(tmp_path / "b"), "--leave-running", "one")
    assert command.state("one")["status"] == "paused"
    command("resume", "one")
    at = len(counter())
    until(lambda: len(counter()) > at + 3)


@needs_criu
def test_a_failed_restore_leaves_nothing(command: Command, tmp_path: Path) -> None:
    command.config(*COUNTER)
    (tmp_path / "images").mkdir()
    failed = command("restore", "--detach", "--image-path", str(tmp_path / "images"), "two", check=False)
    assert failed.returncode == 1
    assert "coracle-oci: restore: criu: " in failed.stderr
    assert command("list", "-q").stdout == ""


def test_without_criu(command: Command, counter: Callable[[], list[int]], tmp_path: Path) -> None:
    for arguments in (("checkpoint", "one"), ("restore", "two")):
        failed = command(*arguments, "--criu", "/nonexistent", "--image-path", str(tmp_path), check=False)
        assert failed.returncode == 1
        assert failed.stderr == (
            "coracle-oci: checkpoint/restore is not supported here: the program /nonexistent is not installed\n"
        )
    assert command.state("one")["status"] == "running"
    assert command("list", "-q").stdout.split() == ["one"]
