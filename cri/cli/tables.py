"""Lists for people: columns on a terminal, plain text with tabs where the output goes elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence

import click

_UNITS = ("B", "kB", "MB", "GB", "TB")


def show(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table, markup=False)


def short_id(identifier: str) -> str:
    return identifier.removeprefix("sha256:")[:13]


def size(number: int) -> str:
    amount, unit = float(number), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.3g} {_UNITS[unit]}" if amount < 999.5 else f"{amount:.0f} {_UNITS[unit]}"


def age(nanoseconds: int, now: float | None = None) -> str:
    """Time since, in the largest unit that fits."""
    seconds = int((time.time() if now is None else now) - nanoseconds / 1e9)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(0, seconds)}s"
