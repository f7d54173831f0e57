"""The verbs of `coracle`, one per file.

Each file imports click at most; gRPC, rich and the daemon are loaded when the verb runs, so that `coracle --help` and
shell completion stay quick.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

from cri.version import VERSION

_VERBS: Final = {
    "serve": "cri.cli.serve",
    "play": "cri.cli.play",
    "pull": "cri.cli.pull",
    "images": "cri.cli.images",
    "pods": "cri.cli.pods",
    "clear": "cri.cli.clear",
    "ps": "cri.cli.ps",
    "status": "cri.cli.status",
    "info": "cri.cli.info",
    "check": "cri.cli.check",
    "doctor": "cri.cli.doctor",
    "config": "cri.cli.config",
    "version": "cri.cli.version",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command = importlib.import_module(_VERBS[cmd_name]).command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="coracle")
def commands() -> None:
    """Coracle runs a Kubernetes node's containers.

    It serves the Container Runtime Interface (CRI) to the kubelet on a unix socket.
    """
