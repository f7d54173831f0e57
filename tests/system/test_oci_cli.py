"""coracle-oci as others call it: separate processes for create, start, exec and delete."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci.cli.spec_verb import template
from tests.system.containers import make_rootfs, read_terminal

REPOSITORY = Path(__file__).parents[2]


class Command:
    """The command line with a state directory and cgroups of its own."""

    def __init__(self, bundle: Path, root: Path) -> None:
        self.bundle = bundle
        self.root = root
        self.prefix = f"coracle-oci-{os.getpid()}"
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}

    def config(self, *args: str, **process: Any) -> None:
        document: dict[str, Any] = template(rootless=False)
        document["process"].update({"args": list(args), "terminal": False} | process)
        document["root"]["readonly"] = False
        document["linux"]["cgroupsPath"] = f"/{self.prefix}/x"
        document["hooks"] = {
            "poststop": [{"path": "/bin/touch", "args": ["touch", str(self.root.parent / "poststop")]}]
        }
        (self.bundle / "config.json").write_text(json.dumps(document))

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "oci.cli", "--root", str(self.root), *arguments]
        # Files, not pipes: the container of a create goes on holding them.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.bundle, env=self.environment,
                timeout=30, check=False,
            ).returncode  # fmt: skip
            out.seek(0)
            err.seek(0)
            finished = subprocess.CompletedProcess(command, status, out.read(), err.read())
        if check:
            assert finished.returncode == 0, finished.stderr
        return finished

    def state(self, container_id: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self("state", container_id).stdout)
        return document


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle")
    make_rootfs(directory / "rootfs")
    return directory


@pytest.fixture
def oci(bundle: Path, tmp_path: Path) -> Iterator[Command]:
    command = Command(bundle, tmp_path / "state")
    yield command
    for container_id in command("list", "-q").stdout.split():
        command("delete", "--force", container_id)
    assert command("list", "-q").stdout == ""
    # Not everywhere below: cgroups of others come and go while this looks.
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{command.prefix}/x"))
    for path in Path("/sys/fs/cgroup").glob(f"*/{command.prefix}"):
        path.rmdir()


def wait_for(oci: Command, container_id: str, status: str) -> None:
    deadline = time.monotonic() + 20
    while oci.state(container_id)["status"] != status:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_run_gives_output_and_exit_status(oci: Command) -> None:
    oci.config("sh", "-c", "echo out; echo err >&2; exit 3")
    finished = oci("run", "one", check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (3, "out\n", "err\n")
    assert (oci.root.parent / "poststop").exists()
    assert oci("list", "-q").stdout == ""


def test_a_life_in_separate_processes(oci: Command, tmp_path: Path) -> None:
    oci.config("sleep", "1000")
    oci("create", "--pid-file", str(tmp_path / "pid"), "one")
    created = oci.state("one")
    assert (created["status"], created["pid"]) == ("created", int((tmp_path / "pid").read_text()))
    assert created["bundle"] == str(oci.bundle)
    # What happens to the bundle now is of no effect.
    (oci.bundle / "config.json").unlink()
    oci("start", "one")
    assert oci.state("one")["status"] == "running"
    assert "cannot be started, it is running" in oci("start", "one", check=False).stderr
    assert "cannot be deleted" in oci("delete", "one", check=False).stderr
    assert json.loads(oci("ps", "--format", "json", "one").stdout) == [created["pid"]]
    finished = oci("exec", "-e", "A=b", "--cwd", "/tmp", "-u", "1000:1000", "one", "sh", "-c", "id -u; pwd; echo $A")
    assert finished.stdout.split() == ["1000", "/tmp", "b"]
    assert oci("exec", "one", "sh", "-c", "exit 5", check=False).returncode == 5
    oci("pause", "one")
    assert oci.state("one")["status"] == "paused"
    oci("resume", "one")
    oci("kill", "one", "KILL")
    wait_for(oci, "one", "stopped")
    assert "is not running" in oci("kill", "one", check=False).stderr
    oci("delete", "one")
    assert "does not exist" in oci("state", "one", check=False).stderr


def test_errors_at_start_reach_the_one_who_starts(oci: Command) -> None:
    oci.config("nope")
    oci("create", "one")
    finished = oci("start", "one", check=False)
    assert finished.returncode == 1
    assert 'exec: "nope": executable file not found in $PATH' in finished.stderr


def test_errors_in_the_log(oci: Command, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    oci("--log", str(log), "--log-format", "json", "state", "one", check=False)
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert "does not exist" in entry["msg"]


@pytest.mark.parametrize("container_id", ["", ".", "..", "a/b", ".x", "a\nb", "a" * 1025])
def test_ids_that_are_none(oci: Command, container_id: str) -> None:
    oci.config("true")
    assert oci("run", container_id, check=False).returncode == 1


def test_an_id_is_taken_once(oci: Command) -> None:
    oci.config("sleep", "1000")
    oci("create", "one")
    assert "exists already" in oci("create", "one", check=False).stderr
    assert oci.state("one")["status"] == "created"


def test_nothing_is_left_of_a_failed_create(oci: Command) -> None:
    oci.config("true", user={"uid": -1})
    finished = oci("create", "one", check=False)
    assert "process.user.uid" in finished.stderr
    oci.config("true", rlimits=[{"type": "RLIMIT_X"}])
    assert oci("create", "one", check=False).returncode == 1
    assert oci("list", "-q").stdout == ""


def test_detached_run_with_a_console_socket(oci: Command, tmp_path: Path) -> None:
    oci.config("sh", "-c", "tty", terminal=True)
    path = tmp_path / "console"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        oci("run", "-d", "--console-socket", str(path), "one")
        peer, _ = server.accept()
        with peer:
            _, (master,), _, _ = socket.recv_fds(peer, 64, 1)
    assert read_terminal(master) == "/dev/pts/0\n"
    os.close(master)


def test_preserved_descriptors(oci: Command) -> None:
    oci.config("sh", "-c", "cat <&3")
    reader, writer = os.pipe()
    os.write(writer, b"through three")
    os.close(writer)
    runtime = [sys.executable, "-m", "oci.cli", "--root", str(oci.root), "run", "--preserve-fds", "1", "one"]
    script = f"import os; os.dup2({reader}, 3); os.execv({runtime[0]!r}, {runtime!r})"
    finished = subprocess.run(
        [sys.executable, "-c", script], pass_fds=[reader], capture_output=True, text=True, cwd=oci.bundle,
        env=oci.environment, timeout=30, check=False,
    )  # fmt: skip
    os.close(reader)
    assert finished.stdout == "through three", finished.stderr


def test_spec_and_features(oci: Command, tmp_path: Path) -> None:
    oci("spec", "--bundle", str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["process"]["args"] == ["sh"]
    assert oci("spec", "--bundle", str(tmp_path), check=False).returncode == 1
    features = json.loads(oci("features").stdout)
    assert "rro" in features["mountOptions"]
    assert "time" in features["linux"]["namespaces"]


def test_dry_run_shows_the_steps(oci: Command) -> None:
    oci.config("true")
    assert "pivot to the root filesystem" in oci("run", "--dry-run", "one").stdout.splitlines()


def test_a_containers_self_is_not_the_hosts_interpreter(oci: Command) -> None:
    """CVE-2019-5736, with a root filesystem that has all the interpreter needs: it runs, but from a sealed copy."""
    script = "import os; print(os.readlink('/proc/self/exe')); open('/proc/self/exe', 'r+b')"
    oci.config("/proc/self/exe", "-I", "-S", "-c", script, env=["PATH=/bin"])
    document = json.loads((oci.bundle / "config.json").read_text())
    prefix = str(Path(sys.executable).resolve().parents[1])
    for directory in {"/lib", "/lib64", "/usr/lib", prefix}:
        if Path(directory).exists():
            mount = {"destination": directory, "source": os.path.realpath(directory), "options": ["rbind", "ro"]}
            document["mounts"].append(mount)
    (oci.bundle / "config.json").write_text(json.dumps(document))
    finished = oci("run", "one", check=False)
    assert "/memfd:coracle" in finished.stdout, finished.stderr
    assert "Text file busy" in finished.stderr or "Operation not permitted" in finished.stderr


def test_a_failed_exec_has_a_status_of_its_own(oci: Command) -> None:
    oci.config("sleep", "1000")
    oci("run", "-d", "one")
    assert oci("exec", "one", "nope", check=False).returncode == 255
