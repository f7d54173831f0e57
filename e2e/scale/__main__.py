"""The command line: `python -m e2e.scale`."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

from e2e import cgroups
from e2e.daemon import Daemon, DaemonSettings, running_daemon
from e2e.images.catalog import busybox_image
from e2e.registry import running_registry
from e2e.scale import crowd, echo, probes
from e2e.scale.report import Figure, show

# Room for a few thousand pods, which the driver's usual /24 has not.
_ADDRESSES = "10.124.0.0/18"
_PROBED = 20


@click.command()
@click.option("--pods", default=500, show_default=True, help="Pods, of two containers each.")
@click.option("--seconds", default=60, show_default=True, help="Length of the idle measure and of the probes.")
@click.option("--rate", default=100, show_default=True, help="Exec probes a second.")
@click.option("--strokes", default=500, show_default=True, help="Key strokes of the echo.")
@click.option("--only", default="crowd,probes,echo", show_default=True, help="Which measures, by commas.")
def main(pods: int, seconds: int, rate: int, strokes: int, only: str) -> None:
    """Measures Coracle with many pods, many probes and a terminal. Needs root and a quiet machine."""
    if os.geteuid() != 0:
        sys.exit("the measurement needs root")
    console = Console() if sys.stdout.isatty() else Console(width=120)
    figures: list[Figure] = []
    chosen = only.split(",")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coracle-scale-")))
        registry = stack.enter_context(running_registry(directory / "registry"))
        registry.client.push("scale/busybox", ["1"], busybox_image())
        image, logs, cgroup = f"{registry.address}/scale/busybox:1", directory / "logs", "/coracle-scale-pods"
        logs.mkdir()
        cgroups.create(cgroup)
        stack.callback(cgroups.remove, cgroup)
        settings = DaemonSettings(name="scale", directory=directory / "coracle", addresses=_ADDRESSES)
        daemon = stack.enter_context(running_daemon(settings))
        daemon.client.pull(image)
        if "crowd" in chosen:
            figures += _crowd(console, daemon, image, logs / "crowd", cgroup, pods, seconds)
        crowd.fill(daemon, image, _fresh(logs / "few"), cgroup, _PROBED // 2)
        containers = [container.id for container in daemon.client.containers()]
        if "probes" in chosen:
            console.print(f"{rate} exec probes a second for {seconds} s, in {len(containers)} containers")
            figures += probes.measure(daemon, containers, rate, seconds)
        if "echo" in chosen:
            figures += echo.measure(daemon, containers[0], strokes)
    show(console, figures)
    sys.exit(any(figure.missed for figure in figures))


def _crowd(
    console: Console, daemon: Daemon, image: str, logs: Path, cgroup: str, pods: int, seconds: int
) -> list[Figure]:
    rate = crowd.fill(daemon, image, _fresh(logs), cgroup, pods)
    console.print(f"{pods} pods of two containers run: {rate:.1f} a second")
    figures = crowd.measure(daemon, pods, seconds)
    console.print(f"removed: {crowd.empty(daemon):.1f} a second")
    return figures


def _fresh(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


if __name__ == "__main__":
    main()
