"""The command `coracle-installer`, one verb a file. Verbs of people and of the pod; `host-*` are for the host's units.

Each file imports click at most; the kubernetes client is loaded when a verb needs it, and never on the host.
"""

from __future__ import annotations

import importlib
import logging
from typing import Final

import click

_VERBS: Final = {
    "install": "deploy.installer.cli.install",
    "switch": "deploy.installer.cli.switch",
    "verify": "deploy.installer.cli.verify",
    "uninstall": "deploy.installer.cli.uninstall",
    "status": "deploy.installer.cli.status",
    "stay": "deploy.installer.cli.staying",
    "wait-uninstalled": "deploy.installer.cli.wait_uninstalled",
    "host-switch": "deploy.installer.cli.host",
    "host-rollback": "deploy.installer.cli.host",
}
_HIDDEN: Final = ("stay", "wait-uninstalled", "host-switch", "host-rollback")


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verb in _VERBS if verb not in _HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        name = cmd_name.replace("-", "_") if cmd_name.startswith("host-") else "command"
        command = getattr(importlib.import_module(_VERBS[cmd_name]), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Puts Coracle on a node of a cluster, makes the kubelet use it, and takes both back.

    Every verb may be killed at any point and run again. With --plan it only says what it would do.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
