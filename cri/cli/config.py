"""`coracle config`: the settings as a commented file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cri.cli.options import read_settings, settings_options
from cri.config import Settings, render, with_derived


@click.command("config")
@click.option("--default", "only_default", is_flag=True, help="Print the defaults, whatever files and variables say.")
@settings_options()
def command(only_default: bool, config_file: Path | None, **options: Sequence[str]) -> None:
    """Print the settings in force as a commented configuration file.

    They are those that `coracle serve` would have with the same flags and variables.
    """
    click.echo(render(with_derived(Settings()) if only_default else read_settings(config_file, **options)), nl=False)
