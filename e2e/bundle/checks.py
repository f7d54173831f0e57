"""What must work in every root: the commands, the executor with a container, the daemon with a pod."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cri.api import runtime_pb2 as pb
from e2e import cgroups
from e2e.bundle.enter import PLACE
from e2e.client import Client, container_config, pod_config
from e2e.daemon import Daemon, DaemonSettings, running_daemon
from e2e.images.busybox import static_busybox
from e2e.paths import ROOT

_CHILD = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import ssl; print(ssl.__file__)'], check=True)"


class CheckFailed(Exception):
    """Something that must work did not."""

    def __init__(self, what: str, seen: object) -> None:
        super().__init__(f"{what}: {seen}")
        self.what = what


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A root to run a bundle in; `shared` has the same path inside and outside."""

    root: Path
    bundle: Path
    shared: Path

    def command(self, *command: str) -> tuple[str, ...]:
        """The same command, executed inside."""
        enter = (sys.executable, "-m", "e2e.bundle.enter", str(self.root), str(self.bundle), str(self.shared))
        return (*enter, *command)

    def run(self, *command: str) -> str:
        done = subprocess.run(self.command(*command), cwd=ROOT, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise CheckFailed(" ".join(command), f"status {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout


@contextmanager
def place(root: Path, bundle: Path) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="bun-") as directory:
        shared = Path(directory) / "shared"
        shared.mkdir()
        yield Place(root=root, bundle=bundle, shared=shared)


def commands(where: Place) -> str:
    """The entries start, and what they say of themselves is what they are."""
    said = where.run(f"{PLACE}/bin/coracle", "--version").strip()
    if not said.startswith("coracle, version "):
        raise CheckFailed("coracle --version", said)
    executor(where)
    return said


def executor(where: Place) -> None:
    """coracle-oci, which needs the interpreter alone; and that a child of the interpreter is the bundle's too."""
    features = json.loads(where.run(f"{PLACE}/bin/coracle-oci", "features"))
    if "linux" not in features:
        raise CheckFailed("coracle-oci features", features)
    child = where.run(f"{PLACE}/bin/python3", "-I", "-S", "-c", _CHILD).strip()
    if not child.startswith(f"{PLACE}/lib/python3"):
        raise CheckFailed("a child of the interpreter", child)


def container(where: Place) -> str:
    """coracle-oci runs a container, and what enters it is a sealed copy of the loader."""
    bundle = where.shared / "container"
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy(static_busybox(), bundle / "rootfs/bin/sh")
    for name in ("proc", "dev", "sys"):
        (bundle / "rootfs" / name).mkdir()
    where.run(f"{PLACE}/bin/coracle-oci", "spec", "--bundle", str(bundle))
    document = json.loads((bundle / "config.json").read_text())
    document["process"] |= {"terminal": False, "args": ["/bin/sh", "-c", "echo from the container"]}
    document["linux"]["cgroupsPath"] = f"/bun-{os.getpid()}"
    (bundle / "config.json").write_text(json.dumps(document))
    name = f"bun-{os.getpid()}"
    command = (f"{PLACE}/bin/coracle-oci", "--root", "/run/oci", "run", "--bundle", str(bundle), name)
    said = where.run(*command).strip()
    if said != "from the container":
        raise CheckFailed("coracle-oci run", said)
    return said


def pod(where: Place, image: str) -> str:
    """The daemon, its launcher and its workers run from the bundle; a pod is pulled, run, logged, entered, removed."""
    began = time.monotonic()
    settings = DaemonSettings(
        name=f"bun{os.getpid() % 100000}",
        directory=where.shared / "node",
        program=where.command(f"{PLACE}/bin/coracle"),
    )
    parent = f"{settings.cgroup}-pods"
    cgroups.create(parent)
    with running_daemon(settings) as daemon:
        client = daemon.client
        client.pull(image)
        logs = where.shared / "logs"
        logs.mkdir()
        config = pod_config("bundled", logs=logs, cgroup_parent=parent)
        sandbox = client.run_pod(config)
        script = "echo started; trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
        made = client.create(sandbox, container_config("main", image, "sh", "-c", script), config)
        client.start(made)
        answer = client.exec(made, "cat", "/proc/self/comm")
        if (answer.exit_code, answer.stdout) != (0, b"cat\n"):
            raise CheckFailed("exec", answer)
        _wait_for_log(logs / "main.log", "started")
        _look_at_processes(daemon, sandbox)
        client.stop(made)
        client.stop_pod(sandbox)
        client.remove_pod(sandbox)
    cgroups.remove(parent)
    return f"{time.monotonic() - began:.1f} s"


def answer_of(client: Client, image: str, logs: Path, *command: str) -> str:
    """What a container of the image, with its own entrypoint, says before it ends well."""
    client.pull(image)
    logs.mkdir()
    config = pod_config(logs.name, logs=logs)
    sandbox = client.run_pod(config)
    container = container_config("main", image)
    container.args.extend(command)
    made = client.create(sandbox, container, config)
    client.start(made)
    deadline = time.monotonic() + 60
    while (status := client.status(made)).state != pb.CONTAINER_EXITED and time.monotonic() < deadline:
        time.sleep(0.05)
    said = [line.split(" ", 3)[3] for line in (logs / "main.log").read_text().splitlines()]
    if status.state != pb.CONTAINER_EXITED or status.exit_code != 0:
        raise CheckFailed(f"{image} {' '.join(command)}", "\n".join([f"status {status.exit_code}", *said]))
    client.stop_pod(sandbox)
    client.remove_pod(sandbox)
    return "\n".join(said)


def _look_at_processes(daemon: Daemon, sandbox: str) -> None:
    for what, pid in (("launcher", daemon.launcher_pid()), ("shim", daemon.shim_pid(sandbox))):
        if not (exe := os.readlink(f"/proc/{pid}/exe")).startswith("/memfd:coracle"):
            raise CheckFailed(f"the {what}'s executable is no sealed copy", exe)
    for pid in daemon.daemon_pids():
        mapped = [line.split()[5] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if ".so" in line]
        if foreign := {path for path in mapped if not path.startswith(PLACE)}:
            raise CheckFailed(f"process {pid} has libraries that are not the bundle's", sorted(foreign))


def _wait_for_log(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or text not in path.read_text():
        if time.monotonic() > deadline:
            raise CheckFailed(f"{text!r} in the log", path.read_text() if path.exists() else "no log")
        time.sleep(0.02)
