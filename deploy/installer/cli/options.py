"""What the verbs share: where the host is, which node, which build; and the way from an error to an exit status."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from deploy.installer.commands import Commands, InDirectory, OnHost
from deploy.installer.context import Context, SwitchSettings
from deploy.installer.errors import InstallError
from deploy.installer.host import Host
from deploy.installer.journal import Journal
from deploy.installer.payload import read_payload

F = TypeVar("F", bound=Callable[..., Any])

PREFIX: Final = "CORACLE_INSTALLER"
"""Of the environment variables that stand for options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a verb works."""

    host_root: Path
    commands: Path | None
    node: str
    kubeconfig: Path | None


def place_options(command: F) -> F:
    """--host-root, --commands, --node and --kubeconfig; the verb gets them as one `place`."""

    @functools.wraps(command)
    def with_place(
        *args: Any, host_root: Path, commands: Path | None, node: str, kubeconfig: Path | None, **options: Any
    ) -> Any:
        place = Place(host_root=host_root, commands=commands, node=node, kubeconfig=kubeconfig)
        try:
            return command(*args, place=place, **options)
        except InstallError as error:
            fail(str(error))

    path = click.Path(path_type=Path, exists=True, file_okay=False)
    for option in (
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            envvar=f"{PREFIX}_KUBECONFIG",
            help="How to reach the cluster.  [default: the pod's service account]",
        ),
        click.option(
            "--node",
            default="",
            envvar=[f"{PREFIX}_NODE", "NODE_NAME"],
            help="This node's name in the cluster; empty for a machine that is in none.",
        ),
        click.option(
            "--commands",
            type=path,
            envvar=f"{PREFIX}_COMMANDS",
            help="Take systemctl and the like from this directory instead of the host: image builds, tests.",
        ),
        click.option(
            "--host-root",
            type=path,
            default=Path("/"),
            show_default=True,
            envvar=f"{PREFIX}_HOST_ROOT",
            help="Where the host's root directory is mounted. Its programs are then run through nsenter.",
        ),
    ):
        with_place = option(with_place)
    return with_place  # type: ignore[return-value]  # the same callable for click, with one argument for four


plan_option: Final = click.option("--plan", is_flag=True, help="Say what would be done, and do nothing.")
stay_option: Final = click.option(
    "--stay",
    metavar="ADDRESS:PORT",
    envvar=f"{PREFIX}_STAY",
    help="Do not end: serve /healthz, /readyz and /metrics there, as a DaemonSet's pod must.",
)


def open_context(
    place: Place,
    *,
    payload: Path | None = None,
    config: Path | None = None,
    purge: bool = True,
    switch: SwitchSettings | None = None,
    with_node: bool = True,
) -> Context:
    host = Host(place.host_root)
    commands: Commands = InDirectory(place.commands, host) if place.commands is not None else OnHost(host)
    node = None
    if place.node and with_node:
        from deploy.installer.cluster.kubernetes_node import KubernetesNode, api_client

        node = KubernetesNode(api_client(place.kubeconfig), place.node)
    return Context(
        host=host,
        commands=commands,
        journal=Journal(host),
        node=node,
        payload=read_payload(payload) if payload is not None else None,
        config=config,
        purge=purge,
        switch=switch or SwitchSettings(),
    )


def report(stage: str, line: str) -> None:
    click.echo(f"{stage:<14} {line}")


def show_plan(lines: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not lines:
        click.echo("nothing to do")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("STAGE", style="bold", no_wrap=True)
    table.add_column("STEP", overflow="fold")
    before = ""
    for stage, line in lines:
        table.add_row(stage if stage != before else "", line)
        before = stage
    Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False).print(table)


def fail(message: str) -> None:
    click.echo(f"coracle-installer: {message}", err=True)
    sys.exit(1)
