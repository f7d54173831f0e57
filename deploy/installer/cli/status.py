"""`coracle-installer status`: what the record says was done here."""

from __future__ import annotations

import json

import click

from deploy.installer.cli.options import Place, open_context, place_options, plan_option


@click.command("status")
@place_options
@plan_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(place: Place, plan: bool, as_json: bool) -> None:
    """Show the steps that the record holds, and how far a switch is. Changes nothing, with or without --plan."""
    from rich.console import Console
    from rich.table import Table

    from deploy.installer.switching.state import read_switch

    context = open_context(place, with_node=False)
    switch = read_switch(context.journal)
    records = context.journal.standing()
    if as_json:
        state = {"state": switch.state.value, "reason": switch.reason} if switch else None
        steps = [{"stage": one.stage, "kind": one.kind, "path": one.path, "phase": one.phase} for one in records]
        click.echo(json.dumps({"steps": steps, "switch": state}))
        return
    if not records:
        click.echo("nothing is installed here")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("STAGE", "WHAT", "PATH", "STATE"):
        table.add_column(title, overflow="fold")
    for record in records:
        table.add_row(record.stage, record.kind.value, record.path, record.phase.value)
    Console(highlight=False, markup=False).print(table)
    if switch is not None:
        click.echo(f"switch: {switch.state.value}{f': {switch.reason}' if switch.reason else ''}")
