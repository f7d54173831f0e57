"""The command line of the kubelet harness: `python -m e2e.kubelet --kubelet PATH`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from e2e import cgroups, leaks
from e2e.client import Client
from e2e.containerd import Peer, PeerSettings
from e2e.daemon import Daemon, DaemonSettings
from e2e.disk import unmount_below
from e2e.images.catalog import ImageNames, push_test_images
from e2e.kubelet import checks
from e2e.kubelet.server import CGROUP_ROOT, Kubelet
from e2e.processes import leave_on_termination
from e2e.registry import RunningRegistry, running_registry
from e2e.runtime import Runtime


@click.command()
@click.option("--kubelet", "program", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
@click.option("--runtime", type=click.Choice(["coracle", "containerd"]), default="coracle", show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Copy the logs of kubelet and runtime there.")
def main(program: Path, runtime: str, keep: Path | None) -> None:
    """Runs a kubelet with a static pod on a runtime that this starts, and checks what its API says. Needs root."""
    if os.geteuid() != 0:
        sys.exit("the kubelet needs root")
    leave_on_termination()
    before = leaks.snapshot()
    failed = 0
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coracle-kubelet-")))
        registry = stack.enter_context(running_registry(directory / "registry"))
        images = push_test_images(registry.client)
        subject = _runtime(runtime, directory, registry, images)
        kubelet = Kubelet(
            program, directory / "kubelet", subject.endpoint, {"PodAndContainerStatsFromCRI": runtime == "coracle"}
        )
        stack.callback(subject.clean)
        stack.callback(subject.stop)
        subject.start()
        stack.callback(_remove_pods, subject.endpoint)
        cgroups.create(CGROUP_ROOT)
        stack.callback(cgroups.remove, CGROUP_ROOT)
        stack.callback(unmount_below, directory / "kubelet")
        stack.callback(kubelet.stop)
        if keep is not None:
            stack.callback(_copy, [kubelet.log, directory / "coracle" / "coracle.log"], keep)
        kubelet.start()
        (kubelet.manifests / "static.json").write_text(json.dumps(checks.manifest(images.busybox)))
        click.echo(f"kubelet on {subject.name} {subject.version()}")
        for check in checks.ALL:
            failed += not _passes(check.__name__, lambda check=check: check(kubelet))  # type: ignore[misc]
        (kubelet.manifests / "static.json").unlink()
        failed += not _passes("pod_goes", lambda: checks.pod_goes(kubelet))
    for line in leaks.leaked(before):
        click.echo(f"left behind: {line}")
        failed += 1
    click.echo(f"{len(checks.ALL) + 1 - failed} passed, {failed} failed")
    sys.exit(failed > 0)


def _passes(name: str, check: Callable[[], str]) -> bool:
    began = time.monotonic()
    try:
        line = check()
    except (checks.CheckFailed, OSError, RuntimeError) as error:
        click.echo(f"FAILED {name}: {error}")
        return False
    click.echo(f"ok     {name} ({time.monotonic() - began:.1f} s): {line}")
    return True


def _runtime(name: str, directory: Path, registry: RunningRegistry, images: ImageNames) -> Runtime:
    if name == "coracle":
        return Daemon(DaemonSettings(name=f"kb{os.getpid()}", directory=directory / "coracle"))
    return Peer(
        PeerSettings(
            directory=directory / "containerd",
            registry=registry.address,
            sandbox_image=images.pause,
            bridge=f"co-kbp{os.getpid()}",
            subnet="10.126.8.0/24",
            mirrors={},
        )
    )


def _remove_pods(endpoint: str) -> None:
    with Client(endpoint) as client:
        client.remove_all()


def _copy(logs: list[Path], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for log in logs:
        if log.exists():
            (target / log.name).write_bytes(log.read_bytes())


if __name__ == "__main__":
    main()
