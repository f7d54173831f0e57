"""`coracle doctor`: does this node have what pods need?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cri.cli.options import read_settings, settings_options

if TYPE_CHECKING:
    from cri.doctor.result import Result


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with all checks.")
@click.option("--all", "everything", is_flag=True, help="Also what is in order, where the output is no terminal.")
@settings_options()
def command(as_json: bool, everything: bool, config_file: Path | None, **options: Sequence[str]) -> None:
    """Look at this node with the eyes of the daemon, and say what to do.

    Nothing is changed, and no daemon has to run. Exit code 1 when a check fails; warnings do not count.
    """
    settings = read_settings(config_file, **options)

    from cri.doctor.examine import examine
    from cri.doctor.result import Verdict

    results = list(examine(settings))
    failed = sum(result.verdict is Verdict.FAIL for result in results)
    warned = sum(result.verdict is Verdict.WARN for result in results)
    if as_json:
        document = {"failed": failed, "warnings": warned, "checks": [result.to_json() for result in results]}
        click.echo(json.dumps(document, indent=2))
    else:
        _show([r for r in results if everything or sys.stdout.isatty() or r.verdict is not Verdict.OK])
        click.echo(f"{len(results)} checks, {warned} warnings, {failed} failed")
    sys.exit(1 if failed else 0)


def _show(results: Sequence[Result]) -> None:
    if not sys.stdout.isatty():
        for result in results:
            line = f"{result.verdict.value}\t{result.group}\t{result.name}\t{result.seen}"
            click.echo(f"{line}\t{result.advice}" if result.advice else line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "CHECK", "SEEN", "WHAT TO DO"):
        table.add_column(column, overflow="fold")
    group = ""
    for result in results:
        if result.group != group:
            group = result.group
            table.add_row("", Text(group, style="bold"))
        verdict = Text(result.verdict.value, style=styles[result.verdict.value])
        table.add_row(verdict, Text(f"  {result.name}"), Text(result.seen), Text(result.advice))
    Console().print(table)
