"""Debian's Podman, unpacked and not installed, with coracle-oci as its runtime: run, exec, kill, terminal, removal.

It runs from a root file system in a directory, so that it needs no image, no policy and no network.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from e2e import debian
from e2e.disk import unmount_below
from e2e.pods import until
from tests.system.containers import make_rootfs

Podman = Callable[..., subprocess.CompletedProcess[str]]

# Podman asks for more than it has itself where the machine withholds CAP_SYS_RESOURCE.
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    runtime = Path(sys.executable).parent / "coracle-oci"
    if not runtime.exists():
        pytest.skip(f"{runtime} is not installed")
    try:
        program = debian.program("podman", "usr/bin/podman")
        monitor = debian.program("conmon", "usr/bin/conmon", "usr/libexec/podman/conmon")
        trees = debian.with_libraries("podman")
    except debian.PackageMissing as missing:
        pytest.skip(str(missing))
    places = tmp_path_factory.mktemp("podman")
    environment = _environment(places, monitor, trees)
    lock = Path("/dev/shm/libpod_lock")
    had_lock = lock.exists()

    def call(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        options = ["--root", f"{places}/graph", "--runroot", f"{places}/run", "--tmpdir", f"{places}/tmp"]
        done = subprocess.run(
            [str(program), *options, "--runtime", str(runtime), *arguments],
            env=environment, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    yield call
    call("rm", "--all", "--force", check=False)
    unmount_below(places)
    if not had_lock:
        lock.unlink(missing_ok=True)
    for path in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
        until(partial(_removed, path))  # conmon outlives what it looked after


def _removed(cgroup: Path) -> bool:
    for directory, _, _ in os.walk(cgroup, topdown=False):
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
    return True


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_rootfs(tmp_path_factory.mktemp("root") / "rootfs"))


def _environment(directory: Path, monitor: Path, trees: tuple[Path, ...]) -> dict[str, str]:
    found = [path for tree in trees for path in (*tree.glob("usr/lib/*-linux-gnu"), *tree.glob("lib/*-linux-gnu"))]
    libraries = os.pathsep.join(map(str, found))
    # Podman gives conmon an environment of its own; conmon calls Podman when the container has ended. Where that call
    # does not find its libraries, whoever waits for the container waits 20 seconds for what it would have recorded.
    wrapper = directory / "conmon"
    wrapper.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}" exec "{monitor}" "$@"\n')
    wrapper.chmod(0o755)
    (directory / "containers.conf").write_text(
        f'[engine]\ncgroup_manager="cgroupfs"\nevents_logger="file"\nconmon_path=["{wrapper}"]\n'
        '[network]\nnetwork_backend="cni"\n'
    )
    (directory / "storage.conf").write_text(
        f'[storage]\ndriver="vfs"\nrunroot="{directory}/run"\ngraphroot="{directory}/graph"\n'
    )
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LD_LIBRARY_PATH": libraries,
        "CONTAINERS_CONF": str(directory / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
    }


def test_run_gives_output_and_exit_status(podman: Podman, rootfs: str) -> None:
    done = podman(
        "run", "--rm", "-t", "--network", "none", *_LIMITS, "--rootfs", rootfs, "/bin/sh", "-c", "tty; exit 6",
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (6, "/dev/pts/0"), done.stderr


def test_a_life_with_exec(podman: Podman, rootfs: str) -> None:
    limits = ("--memory", "64m", "--pids-limit", "100", "--user", "1000:1000", "--cap-drop", "all")
    podman(
        "run", "-d", "--name", "one", "--network", "none", *_LIMITS, *limits, "--rootfs", rootfs, "/bin/sleep", "1000"
    )
    assert podman("exec", "one", "/bin/sh", "-c", "id -u").stdout == "1000\n"
    assert podman("exec", "one", "/bin/sh", "-c", "exit 4", check=False).returncode == 4
    assert "Running" not in podman("exec", "one", "/no/such", check=False).stdout
    podman("pause", "one")
    assert podman("inspect", "--format", "{{.State.Status}}", "one").stdout == "paused\n"
    podman("unpause", "one")
    podman("kill", "one")
    assert podman("wait", "one").stdout == "137\n"
    podman("rm", "one")


def test_a_program_that_is_missing_has_podmans_own_exit_status(podman: Podman, rootfs: str) -> None:
    """Podman tells "not found" from "cannot be executed" by the words of the runtime's error."""
    done = podman("run", "--rm", "--network", "none", *_LIMITS, "--rootfs", rootfs, "/no/such", check=False)
    assert done.returncode == 127, done.stderr
