"""`coracle check`: is everything on this node as the daemon's records say?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cri.cli.options import ADDRESS_KEYS, read_settings, settings_options

if TYPE_CHECKING:
    from cri.api import coracle_pb2 as own


@click.command("check")
@click.option("--repair", is_flag=True, help="Fetch damaged layers again, restore names, release what nobody owns.")
@click.option("--skip-layers", is_flag=True, help="Do not read the contents of the layers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each finding.")
@settings_options(ADDRESS_KEYS)
def command(repair: bool, skip_layers: bool, as_json: bool, config_file: Path | None, **options: Sequence[str]) -> None:
    """Compare what this node has with what the daemon's records say.

    The daemon does it while it serves; containers are not disturbed. Exit code 1 when something is wrong that was not
    repaired.
    """
    from cri.api import coracle_pb2 as own
    from cri.api.coracle_pb2_grpc import CoracleStub
    from cri.cli.client import connected

    settings = read_settings(config_file, **options)
    with connected(settings) as channel:
        answers = CoracleStub(channel).Check(own.CheckRequest(repair=repair, skip_layers=skip_layers))
        findings = list(_shown(answers, quiet=as_json or not sys.stderr.isatty()))
    for finding in findings:
        click.echo(_json(finding) if as_json else _text(finding, repair))
    wrong = sum(not finding.repaired for finding in findings)
    if not as_json:
        click.echo(_summary(len(findings), wrong, repair))
    sys.exit(1 if wrong else 0)


def _shown(answers: Iterable[own.CheckResponse], quiet: bool) -> Iterable[own.Finding]:
    """The findings; how far the check is goes to standard error meanwhile."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True, quiet=quiet)) as bars:
        for answer in answers:
            if answer.HasField("finding"):
                yield answer.finding
                continue
            at = answer.progress
            if at.part not in tasks:
                tasks[at.part] = bars.add_task(at.part)
            bars.update(tasks[at.part], completed=at.done, total=at.total)


def _text(finding: own.Finding, repair: bool) -> str:
    lines = [f"{finding.subject}: {finding.problem}"]
    if finding.repaired:
        lines.append("    repaired")
    elif finding.failure:
        lines += [f"    could not be repaired: {finding.failure}", f"    {finding.remedy}"]
    elif finding.repairable and not repair:
        lines.append("    `coracle check --repair` mends it")
    else:
        lines.append(f"    {finding.remedy}")
    return "\n".join(lines)


def _json(finding: own.Finding) -> str:
    return json.dumps({field.name: getattr(finding, field.name) for field in finding.DESCRIPTOR.fields})


def _summary(found: int, wrong: int, repair: bool) -> str:
    if not found:
        return "everything is as it should be"
    return f"{found} found, {found - wrong} repaired" if repair else f"{found} found"
