"""coracle-oci as others call it: separate processes for create, start, exec and delete."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.containers import make_rootfs, read_terminal
from tests.system.oci_command import REPOSITORY, Command, clean_command


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle")
    make_rootfs(directory / "rootfs")
    return directory


@pytest.fixture
def oci(bundle: Path, tmp_path: Path) -> Iterator[Command]:
    with clean_command(bundle, tmp_path / "state") as command:
        yield command


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


def test_a_missing_program_fails_create_and_leaves_nothing(oci: Command) -> None:
    """Podman, for one, only reads what create says."""
    oci.config("nope")
    finished = oci("create", "one", check=False)
    assert finished.returncode == 1
    assert 'exec: "nope": executable file not found in $PATH' in finished.stderr
    assert oci("list", "-q").stdout == ""


def test_errors_at_start_reach_the_one_who_starts(oci: Command) -> None:
    oci.config("/etc/passwd")
    oci("create", "one")
    finished = oci("start", "one", check=False)
    assert finished.returncode == 1
    assert 'exec: "/etc/passwd": permission denied' in finished.stderr


def test_a_failing_poststart_hook_ends_the_container(oci: Command) -> None:
    oci.config("sleep", "1000")
    document = json.loads((oci.bundle / "config.json").read_text())
    document["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    (oci.bundle / "config.json").write_text(json.dumps(document))
    oci("create", "one")
    assert "poststart hook failed with exit code 1" in oci("start", "one", check=False).stderr
    assert oci("list", "-q").stdout == ""


def test_update_and_events(oci: Command, tmp_path: Path) -> None:
    oci.config("sleep", "1000")
    oci("run", "--detach", "one")
    oci("update", "--memory", "64m", "--pids-limit", "100", "one")
    stats = json.loads(oci("events", "--stats", "one").stdout)
    assert (stats["type"], stats["id"]) == ("stats", "one")
    assert stats["data"]["memory"]["usage"]["limit"] == 64 << 20
    assert stats["data"]["pids"] == {"current": 1, "limit": 100}
    (tmp_path / "resources.json").write_text(json.dumps({"pids": {"limit": 50}}))
    oci("update", "--resources", str(tmp_path / "resources.json"), "one")
    stats = json.loads(oci("events", "--stats", "one").stdout)
    assert stats["data"]["pids"]["limit"] == 50
    assert stats["data"]["memory"]["usage"]["limit"] == 64 << 20
    assert "wants a number" in oci("update", "--memory", "lots", "one", check=False).stderr


def test_exec_replaces_variables_and_joins_a_cgroup_below(oci: Command) -> None:
    oci.config("sleep", "1000", env=["PATH=/bin", "A=old"])
    oci("run", "--detach", "one")
    assert oci("exec", "-e", "A=new", "one", "sh", "-c", "env | grep ^A=").stdout == "A=new\n"
    assert "does not exist" in oci("exec", "--cgroup", "below", "one", "true", check=False).stderr
    memory = [
        path for path in Path("/sys/fs/cgroup").glob(f"*/{oci.prefix}/x") if path.parts[4] in ("memory", oci.prefix)
    ]
    (memory[0] / "below").mkdir()
    assert ":memory:" in oci("exec", "--cgroup", "below", "one", "cat", "/proc/self/cgroup").stdout


def test_a_process_frozen_in_a_cgroup_of_somebody_else_is_deleted(oci: Command) -> None:
    freezer = Path(f"/sys/fs/cgroup/freezer/{oci.prefix}-frozen")
    if not freezer.parent.is_dir():
        pytest.skip("only cgroup v1 keeps a frozen process from being killed")
    oci.config("sleep", "1000")
    oci("run", "--detach", "one")
    freezer.mkdir()
    try:
        (freezer / "tasks").write_text(str(oci.state("one")["pid"]))
        (freezer / "freezer.state").write_text("FROZEN")
        oci("delete", "--force", "one")
    finally:
        (freezer / "freezer.state").write_text("THAWED")
        freezer.rmdir()


def test_the_service_manager_hears_that_the_container_is_ready(oci: Command, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        manager.settimeout(20)
        oci.environment["NOTIFY_SOCKET"] = str(tmp_path / "manager")
        oci.config("sh", "-c", "ls $NOTIFY_SOCKET && sleep 1000")
        oci("run", "--detach", "one")
        inside = oci.root / "one/notify/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
            service.sendto(b"READY=1\nMAINPID=1\nSTATUS=fine", str(inside))
        heard = manager.recv(4096).decode().split("\n")
    assert heard == ["READY=1", "STATUS=fine", f"MAINPID={oci.state('one')['pid']}"]


def test_only_open_descriptors_are_preserved(oci: Command) -> None:
    oci.config("sh", "-c", "ls /proc/self/fd | wc -l")
    assert int(oci("run", "--preserve-fds", "20", "one").stdout) == 4  # three, and the directory that ls reads


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
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert oci("--version").stdout.startswith(f"coracle-oci version {declared}\nspec: 1.")
    features = json.loads(oci("features").stdout)
    assert "rro" in features["mountOptions"]
    assert "time" in features["linux"]["namespaces"]


def test_dry_run_shows_the_steps(oci: Command) -> None:
    oci.config("true")
    assert "pivot to the root filesystem" in oci("run", "--dry-run", "one").stdout.splitlines()


def test_a_pidfd_for_whoever_wants_one(oci: Command, tmp_path: Path) -> None:
    oci.config("sleep", "1000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "pidfd"))
        server.listen()
        oci("run", "--detach", "--pidfd-socket", str(tmp_path / "pidfd"), "one")
        peer, _ = server.accept()
        with peer:
            _, (pidfd,), _, _ = socket.recv_fds(peer, 100, 1)
    assert f"Pid:\t{oci.state('one')['pid']}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    os.close(pidfd)
    assert "nobody takes descriptors there" in oci("exec", "--pidfd-socket", "/none", "one", "true", check=False).stderr


def test_debug_shows_the_steps_and_ps_what_it_is_asked_for(oci: Command, tmp_path: Path) -> None:
    oci.config("sleep", "1000")
    oci("--debug", "--log", str(tmp_path / "log"), "run", "--detach", "one")
    assert 'level=debug msg="pivot to the root filesystem"' in (tmp_path / "log").read_text()
    shown = oci("ps", "one", "--", "-e", "-o", "pid,args").stdout.splitlines()
    assert [line.split() for line in shown] == [["PID", "COMMAND"], [str(oci.state("one")["pid"]), "sleep", "1000"]]
    assert "shows no PID column" in oci("ps", "one", "--", "-e", "-o", "args", check=False).stderr


def test_links_are_mounted_or_copied_as_links(oci: Command, tmp_path: Path) -> None:
    oci.config("sh", "-c", "readlink /mounted; readlink /copied/link; cat /followed")
    (tmp_path / "file").write_text("content\n")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to("nowhere")
    document = json.loads((oci.bundle / "config.json").read_text())
    document["mounts"] += [
        {"destination": "/mounted", "source": str(tmp_path / "dangling"), "options": ["bind", "src-nofollow"]},
        {"destination": "/copied/link", "source": str(tmp_path / "dangling"), "options": ["rbind", "copy-symlink"]},
        {"destination": "/followed", "source": str(tmp_path / "link"), "options": ["bind"]},
    ]
    (oci.bundle / "config.json").write_text(json.dumps(document))
    assert oci("run", "one").stdout == "nowhere\nnowhere\ncontent\n"
    assert oci("run", "two").stdout == "nowhere\nnowhere\ncontent\n"


def test_a_link_in_the_targets_place_is_covered_not_followed(oci: Command, tmp_path: Path) -> None:
    oci.config("sh", "-c", "cat /linked; cat /behind")
    rootfs = oci.bundle / "rootfs"
    (rootfs / "behind").write_text("behind\n")
    (rootfs / "linked").symlink_to("behind")
    (tmp_path / "file").write_text("over\n")
    document = json.loads((oci.bundle / "config.json").read_text())
    mount = {"destination": "/linked", "source": str(tmp_path / "file"), "options": ["bind", "dest-nofollow"]}
    document["mounts"].append(mount)
    (oci.bundle / "config.json").write_text(json.dumps(document))
    assert oci("run", "one").stdout == "over\nbehind\n"


def test_what_hooks_print_goes_where_the_config_says(oci: Command, tmp_path: Path) -> None:
    oci.config("true")
    document = json.loads((oci.bundle / "config.json").read_text())
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo err >&2"]}
    document["hooks"] = {"createRuntime": [hook], "poststart": [hook], "poststop": [hook]}
    document["annotations"] = {
        "run.oci.hooks.stdout": str(tmp_path / "out"),
        "run.oci.hooks.stderr": str(tmp_path / "err"),
    }
    (oci.bundle / "config.json").write_text(json.dumps(document))
    finished = oci("run", "one")
    assert (finished.stdout, finished.stderr) == ("", "")
    assert (tmp_path / "out").read_text() == "out\n" * 3
    assert (tmp_path / "err").read_text() == "err\n" * 3


def test_a_containers_self_is_not_the_hosts_interpreter(oci: Command) -> None:
    """CVE-2019-5736, with a root filesystem that has all the interpreter needs: what runs is a sealed loader."""
    script = "import os; print(os.readlink('/proc/self/exe')); open('/proc/self/exe', 'r+b')"
    interpreter = str(Path(sys.executable).resolve())
    oci.config("/proc/self/exe", interpreter, "-I", "-S", "-c", script, env=["PATH=/bin"])
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
