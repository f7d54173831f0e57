"""`coracle-installer verify`: is everything as it should be after what was done here?"""

from __future__ import annotations

import sys

import click

from deploy.installer.cli.options import Place, open_context, place_options, plan_option


@click.command("verify")
@place_options
@plan_option
def command(place: Place, plan: bool) -> None:
    """Check files, daemon, kubelet and node against the record. Changes nothing, with or without --plan.

    The exit status is 0 when all is well, else 1.
    """
    from rich.console import Console
    from rich.table import Table

    from deploy.installer.verify import findings

    found = findings(open_context(place))
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in found:
        table.add_row("ok" if finding.good else "WRONG", finding.question, finding.answer)
    Console(highlight=False, markup=False).print(table)
    if not all(finding.good for finding in found):
        sys.exit(1)
