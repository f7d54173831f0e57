"""The command line of the harness: `python -m e2e.critest --critest PATH`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click
import grpc

from e2e import leaks
from e2e.client import Client
from e2e.containerd import Peer, PeerSettings
from e2e.critest import report
from e2e.critest.images import MIRRORED_HOSTS, push_images
from e2e.daemon import Daemon, DaemonSettings
from e2e.images.catalog import push_test_images
from e2e.processes import leave_on_termination
from e2e.registry import running_registry
from e2e.runtime import Runtime


@click.command()
@click.option("--critest", "program", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
@click.option("--runtime", type=click.Choice(["coracle", "containerd"]), default="coracle", show_default=True)
@click.option("--focus", default="", help="Only specs that match this regular expression.")
@click.option("--skip", default="", help="No specs that match this one.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep logs and the JSON report in this directory.")
@click.argument("arguments", nargs=-1)
def main(program: Path, runtime: str, focus: str, skip: str, keep: Path | None, arguments: Sequence[str]) -> None:
    """Runs critest against a runtime that this starts; ARGUMENTS are passed to critest. Needs root."""
    if os.geteuid() != 0:
        sys.exit("critest needs root")
    leave_on_termination()
    before = leaks.snapshot()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coracle-critest-")))
        results = keep or directory
        results.mkdir(parents=True, exist_ok=True)
        registry = stack.enter_context(running_registry(directory / "registry"))
        click.echo(f"{push_images(registry.client)} images in the registry at {registry.address}")
        mirrors = dict.fromkeys(MIRRORED_HOSTS, registry.address)
        if runtime == "coracle":
            daemon = Daemon(DaemonSettings(name=f"ct{os.getpid()}", directory=directory / "coracle", mirrors=mirrors))
            subject: Runtime = daemon
            arguments = (f"-nri-socket={daemon.runroot}/nri.sock", *arguments)
        else:
            subject = Peer(
                PeerSettings(
                    directory=directory / "containerd",
                    registry=registry.address,
                    sandbox_image=push_test_images(registry.client).pause,
                    bridge=f"co-ctp{os.getpid()}",
                    subnet="10.126.7.0/24",
                    mirrors=mirrors,
                )
            )
        specs = _run(subject, program, results, focus, skip, arguments)
    for line in report.summary(specs):
        click.echo(line)
    for line in leaks.leaked(before):
        click.echo(f"left behind: {line}")
    sys.exit(any(spec.state not in ("passed", "skipped", "pending") for spec in specs))


def _run(
    subject: Runtime, program: Path, results: Path, focus: str, skip: str, arguments: Sequence[str]
) -> list[report.Spec]:
    # The suite's HTTP client takes a proxy even for pod addresses.
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    configuration = results / "crictl.yaml"
    configuration.write_text(f"runtime-endpoint: {subject.endpoint}\n")
    output = results / "report.json"
    command = [
        str(program),
        f"-runtime-endpoint={subject.endpoint}",
        f"-image-endpoint={subject.endpoint}",
        f"-config={configuration}",
        f"-ginkgo.json-report={output}",
        *([f"-ginkgo.focus={focus}"] if focus else []),
        *([f"-ginkgo.skip={skip}"] if skip else []),
        *arguments,
    ]
    subject.start()
    try:
        click.echo(f"critest against {subject.name} {subject.version()}")
        began = time.monotonic()
        with (results / "critest.log").open("wb") as log:
            subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
        click.echo(f"the suite took {time.monotonic() - began:.0f} s")
        return report.read(output)
    finally:
        _clear(subject)
        subject.stop()
        shutil.copy(subject.log, results)
        subject.clean()


def _clear(subject: Runtime) -> None:
    """Removes what the suite left; a pod that cannot be removed is reported and must not keep the rest from ending."""
    with Client(subject.endpoint) as client:
        for pod in client.pods():
            try:
                client.stop_pod(pod.id)
                client.remove_pod(pod.id)
            except grpc.RpcError as error:
                click.echo(f"pod {pod.metadata.name} cannot be removed: {error}")


if __name__ == "__main__":
    main()
