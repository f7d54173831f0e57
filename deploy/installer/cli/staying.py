"""The pod after its work: `stay_at` and `wait_for_mark` replace the process by `coracle-installer stay`.

A fresh process, because the one that did the work holds the kubernetes client and its 40 MB for nothing.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Final, NoReturn

import click

from deploy.installer import names
from deploy.installer.cli.options import Place, place_options
from deploy.installer.cluster.kubeconfig import Credentials, Unreadable, in_pod, read_credentials, read_node
from deploy.installer.host import Host
from deploy.installer.presence import Presence, PresenceServer

_LOOK_S: Final = 15.0


def stay_at(stay: str, place: Place, *extra: str) -> NoReturn:
    sys.stdout.flush()
    argv = [*_program(), "stay", stay, "--host-root", str(place.host_root), "--node", place.node, *extra]
    if place.kubeconfig is not None:
        argv += ["--kubeconfig", str(place.kubeconfig)]
    os.execv(argv[0], argv)


def wait_for_mark(stay: str, place: Place) -> NoReturn:
    """Serves until a person marks the node, then begins again with the command line of this process."""
    stay_at(stay, place, "--marked-then", json.dumps([*_program(), *sys.argv[1:]]))


def _program() -> list[str]:
    """Of a bundle, of a virtual environment, or the module."""
    in_bundle = Path(__file__).parents[4] / "bin" / "coracle-installer"
    for own in (str(in_bundle), sys.argv[0]):
        if os.path.isabs(own) and own.endswith("/coracle-installer") and os.access(own, os.X_OK):
            return [own]
    return [sys.executable, "-m", "deploy.installer"]


@click.command("stay", hidden=True)
@click.argument("address")
@place_options
@click.option("--metrics-url", default="", envvar="CORACLE_INSTALLER_METRICS_URL", help="The daemon's own.")
@click.option("--removed", is_flag=True, help="Ready means that nothing is left.")
@click.option("--marked-then", metavar="JSON", help="Become this command once the node is marked to be switched.")
@click.option("--look", type=float, default=_LOOK_S, metavar="SECONDS", help="How often the mark is looked for.")
def command(address: str, place: Place, metrics_url: str, removed: bool, marked_then: str | None, look: float) -> None:
    """Serve /healthz, /readyz and /metrics at ADDRESS (host:port) until the end."""
    name, _, port = address.rpartition(":")
    presence = Presence(host=Host(place.host_root), metrics_url=metrics_url, removed=removed)
    server = PresenceServer(name.strip("[]"), int(port), presence)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if marked_then is None:
        threading.Event().wait()
    argv = json.loads(str(marked_then))
    while not _is_marked(place):
        time.sleep(look)
    server.shutdown()
    os.execv(argv[0], argv)


def _is_marked(place: Place) -> bool:
    try:
        return read_node(_credentials(place.kubeconfig), place.node).labels.get(names.SWITCH_LABEL) == "true"
    except Unreadable as error:
        click.echo(f"coracle-installer: {error}", err=True)
        return False


def _credentials(kubeconfig: Path | None) -> Credentials:
    return read_credentials(Host(), str(kubeconfig.resolve())) if kubeconfig is not None else in_pod()
