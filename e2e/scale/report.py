"""Figures beside their goals. Pure but for the printing."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`goal` is the most that it may be; None is only told."""

    title: str
    value: float
    unit: str
    goal: float | None = None

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.value > self.goal


def show(console: Console, figures: list[Figure]) -> None:
    table = Table("measure", "value", "goal", "")
    for figure in figures:
        goal = "" if figure.goal is None else f"{figure.goal:g} {figure.unit}"
        verdict = "" if figure.goal is None else "missed" if figure.missed else "met"
        table.add_row(figure.title, f"{figure.value:.2f} {figure.unit}", goal, verdict)
    console.print(table)
