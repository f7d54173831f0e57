"""The command line of the harness: `python -m e2e.critest --critest PATH`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from e2e import leaks
from e2e.containerd import Peer, PeerSettings
from e2e.critest import report
from e2e.critest.images import MIRRORED_HOSTS, push_images
from e2e.critest.suite import Suite, Variant
from e2e.daemon import Daemon, DaemonSettings
from e2e.images.catalog import push_test_images
from e2e.processes import leave_on_termination
from e2e.registry import RunningRegistry, running_registry
from e2e.runtime import Runtime

_ALL = tuple(Variant(websocket=websocket, processes=processes) for processes in (1, 8) for websocket in (False, True))


@click.command()
@click.option("--critest", "program", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
@click.option(
    "--ginkgo",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="ginkgo's program; critest needs it for more than one process.",
)
@click.option("--runtime", type=click.Choice(["coracle", "containerd"]), default="coracle", show_default=True)
@click.option("--focus", default="", help="Only specs that match this regular expression.")
@click.option("--skip", default="", help="No specs that match this one.")
@click.option("--websocket", is_flag=True, help="Exec, attach and port-forward over WebSocket instead of SPDY.")
@click.option("--processes", type=click.IntRange(min=1), default=1, help="Run specs side by side.")
@click.option(
    "--rounds",
    type=click.IntRange(min=0),
    default=0,
    help="This many rounds of all four: SPDY and WebSocket, sequential and 8 processes.",
)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep logs and the JSON reports in this directory.")
@click.argument("arguments", nargs=-1)
def main(
    program: Path,
    ginkgo: Path | None,
    runtime: str,
    focus: str,
    skip: str,
    websocket: bool,
    processes: int,
    rounds: int,
    keep: Path | None,
    arguments: Sequence[str],
) -> None:
    """Runs critest against a runtime that this starts; ARGUMENTS are passed to critest. Needs root."""
    if os.geteuid() != 0:
        sys.exit("critest needs root")
    if (rounds or processes > 1) and not ginkgo:
        sys.exit("more than one process needs --ginkgo: build it where critest was, e2e/critest/README.md tells how")
    leave_on_termination()
    before = leaks.snapshot()
    variants = _ALL * rounds or (Variant(websocket=websocket, processes=processes),)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coracle-critest-")))
        registry = stack.enter_context(running_registry(directory / "registry"))
        count = push_images(registry.client) if registry.filled is None else "all"
        click.echo(f"{count} images in the registry at {registry.address}")
        suite = Suite(program=program, ginkgo=ginkgo, focus=focus, skip=skip, flags=tuple(arguments))
        failed = False
        totals = []
        for number, variant in enumerate(variants, 1):
            name = f"{number:02}"
            click.echo(f"run {name}: {variant}")
            subject, flags = _subject(runtime, directory / name, registry)
            specs = suite.run(subject, (*flags, *variant.flags()), (keep or directory) / name)
            lines = report.summary(specs)
            totals.append(f"{name}  {variant}: {lines[-1]}")
            failed = failed or any(spec.state not in ("passed", "skipped", "pending") for spec in specs)
            for line in lines:
                click.echo(line)
    for line in (*(totals if rounds else ()), *_left(before)):
        click.echo(line)
    sys.exit(failed)


def _left(before: leaks.Snapshot) -> Iterator[str]:
    return (f"left behind: {line}" for line in leaks.leaked(before))


def _subject(runtime: str, directory: Path, registry: RunningRegistry) -> tuple[Runtime, tuple[str, ...]]:
    """The runtime, and the flags of critest that belong to it."""
    mirrors = dict.fromkeys(MIRRORED_HOSTS, registry.address)
    if runtime == "coracle":
        daemon = Daemon(DaemonSettings(name=f"ct{os.getpid()}", directory=directory / "coracle", mirrors=mirrors))
        return daemon, (f"-nri-socket={daemon.runroot}/nri.sock",)
    settings = PeerSettings(
        directory=directory / "containerd",
        registry=registry.address,
        sandbox_image=push_test_images(registry.client).pause,
        bridge=f"co-ctp{os.getpid()}",
        subnet="10.126.7.0/24",
        mirrors=mirrors,
    )
    return Peer(settings), ()


if __name__ == "__main__":
    main()
