"""`coracle serve`: the daemon in the foreground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cri.cli.options import flag_texts, settings_options
from cri.cli.serving import Flags, run


@click.command("serve")
@settings_options()
def command(config_file: Path | None, **options: Sequence[str]) -> None:
    """Serve the CRI in the foreground.

    Containers run on when the daemon stops, and are found again when it starts.
    """
    run(Flags(config=config_file, texts=flag_texts(options)))
