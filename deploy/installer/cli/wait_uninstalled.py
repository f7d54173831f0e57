"""`coracle-installer wait-uninstalled`: what a chart's hook waits for, since Helm does not wait for a DaemonSet."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import click

from deploy.installer import names

_PAUSE_S: Final = 3.0


@click.command("wait-uninstalled", hidden=True)
@click.option("--timeout", type=click.IntRange(1), default=900, show_default=True, metavar="SECONDS")
@click.option("--kubeconfig", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def command(timeout: int, kubeconfig: Path | None) -> None:
    """Wait until no node carries the installer's label."""
    from kubernetes import client

    from deploy.installer.cluster.kubernetes_node import api_client

    api = client.CoreV1Api(api_client(kubeconfig))
    deadline = time.monotonic() + timeout
    while True:
        nodes = api.list_node(label_selector=names.LABEL).items
        left = [str(node.metadata.name) for node in nodes if node.metadata is not None]
        if not left:
            click.echo("no node carries Coracle any more")
            return
        if time.monotonic() > deadline:
            click.echo(f"coracle-installer: not removed from {', '.join(sorted(left))}", err=True)
            sys.exit(1)
        time.sleep(_PAUSE_S)
