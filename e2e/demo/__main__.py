"""The demo's steps in order: `python -m e2e.demo`. Exit code 1 when a step fails or something is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
import yaml
from rich.console import Console

from e2e import leaks
from e2e.daemon import Daemon, DaemonSettings
from e2e.demo import show
from e2e.demo.steps import Steps
from e2e.images.catalog import busybox_image, nginx_image
from e2e.paths import EXAMPLES, ROOT
from e2e.processes import answers, leave_on_termination
from e2e.registry import running_registry

HOST: Final = "demo.coracle.example"
MANIFEST: Final = EXAMPLES / "web.yaml"
NOTE: Final = "This line comes from a file of the host."


@click.command()
@click.option("--manifest", type=click.Path(path_type=Path, exists=True), default=MANIFEST, help="Another Pod to run.")
def main(manifest: Path) -> None:
    """Runs a pod end to end: registry, pull, run, page, logs, exec, stats, removal; then looks for what is left."""
    if os.geteuid() != 0:
        sys.exit("the demo needs root: sudo make demo")
    leave_on_termination()
    steps = Steps(Console(highlight=False))
    document = yaml.safe_load(manifest.read_text())
    taken = [port for port in _host_ports(document) if answers("127.0.0.1", port)]
    if taken:
        sys.exit(f"port {taken[0]} of this host is in use: change hostPort in {manifest}")
    before = leaks.snapshot()
    with tempfile.TemporaryDirectory(prefix="coracle-demo-") as directory:
        _demo(steps, Path(directory), manifest, document)
    with steps.step("look for what is left: mounts, namespaces, cgroups, processes, interfaces, addresses"):
        left = leaks.leaked(before)
        steps.say(left or ["nothing is left"])
    steps.table()
    sys.exit(1 if left else 0)


def _demo(steps: Steps, directory: Path, manifest: Path, document: dict[str, object]) -> None:
    with ExitStack() as stack:
        with steps.step("build images from Debian packages"):
            images = {"busybox": busybox_image(), "nginx": nginx_image()}
            steps.say(f"{name}: {sum(one.size for one in image.layers) / 1e6:.1f} MB" for name, image in images.items())
        with steps.step("start a registry and push them"):
            registry = stack.enter_context(running_registry(directory / "registry"))
            for name, image in images.items():
                registry.client.push(name, ["1"], image)
            steps.say([f"docker-registry at {registry.address}, pid {registry.pid}"])
        settings = DaemonSettings(
            name=f"de{os.getpid()}", directory=directory / "coracle", mirrors={HOST: registry.address}
        )
        daemon = Daemon(settings)
        stack.callback(daemon.clean)
        stack.callback(daemon.stop)
        with steps.step("start the daemon, with the built-in network"):
            daemon.start()
            steps.say([f"coracle {daemon.version()} at {daemon.endpoint}"])
        for name in images:
            with steps.step(f"pull {HOST}/{name}:1"):
                _coracle(daemon, "pull", f"{HOST}/{name}:1")
        for path in _host_paths(document):
            stack.enter_context(_site(path))
        with steps.step(f"run {manifest.name}"):
            sandbox, address = _coracle(daemon, "play", str(manifest), f"--root={daemon.root}").split()[:2]
            steps.say([f"pod {sandbox[:13]} has address {address}"])
        _look(steps, daemon, sandbox, address, document)
        with steps.step("stop and remove the pod"):
            _coracle(daemon, "play", "--down", str(manifest), f"--root={daemon.root}")
        with steps.step("stop the daemon and the registry, remove their files"):
            stack.close()


def _look(steps: Steps, daemon: Daemon, sandbox: str, address: str, document: dict[str, object]) -> None:
    client = daemon.client
    listed = show.containers(client, sandbox)
    with steps.step(f"fetch the page from the pod: http://{address}/"):
        steps.say(show.fetch(address, 80, expected=NOTE))
    for port in _host_ports(document):
        with steps.step(f"fetch it from the host's port: http://127.0.0.1:{port}/"):
            steps.say(show.fetch("127.0.0.1", port, expected=NOTE)[:1])
    with steps.step("logs"):
        steps.say(show.logs(client, listed))
    for command in (["id"], ["ps", "-o", "pid,user,args"], ["ip", "-4", "-o", "address"], ["df", "-h", "/"]):
        with steps.step("exec in writer"):
            steps.say(show.run(client, listed["writer"].id, command))
    with steps.step("stats"):
        steps.say(show.stats(client, listed))


def _coracle(daemon: Daemon, *arguments: str) -> str:
    """Runs the command line as a person would: progress bars go to the terminal, its answer comes back."""
    command = [*daemon.program(), *arguments, f"--listen={daemon.endpoint}"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def _site(path: Path) -> ExitStack:
    """The host directory of the example with its file; it is gone after the block, when it was not there before."""
    stack = ExitStack()
    if not path.exists():
        stack.callback(shutil.rmtree, path)
    path.mkdir(exist_ok=True)
    (path / "note.txt").write_text(NOTE + "\n")
    return stack


def _host_paths(document: dict[str, object]) -> list[Path]:
    spec = document["spec"]
    assert isinstance(spec, dict)
    return [Path(volume["hostPath"]["path"]) for volume in spec.get("volumes", ()) if "hostPath" in volume]


def _host_ports(document: dict[str, object]) -> list[int]:
    spec = document["spec"]
    assert isinstance(spec, dict)
    return [port["hostPort"] for one in spec["containers"] for port in one.get("ports", ()) if "hostPort" in port]


if __name__ == "__main__":
    main()
