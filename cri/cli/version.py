"""`coracle version`: of this program, and of what it is made with."""

from __future__ import annotations

import json
import platform

import click

from cri.version import CRI_VERSION, VERSION


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(as_json: bool) -> None:
    """Print the versions of Coracle and of what it runs on."""
    versions = {
        "version": VERSION,
        "cri": CRI_VERSION,
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    if as_json:
        click.echo(json.dumps(versions))
        return
    for name, value in versions.items():
        click.echo(f"{name:<8} {value}")
