"""Steps of the demo: a name, the time it took, and lines below it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Steps:
    def __init__(self, console: Console) -> None:
        self.console = console
        self._taken: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.console.print(Text(f"▸ {name}", style="bold"))
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self._taken.append((name, seconds))
        self.console.print(Text(f"  {_duration(seconds)}", style="green"))

    def say(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.console.print(Text(f"  {line}"), overflow="fold")

    def table(self) -> None:
        table = Table(show_header=False, box=None)
        table.add_column()
        table.add_column(justify="right")
        for name, seconds in self._taken:
            table.add_row(name, _duration(seconds))
        table.add_row("together", _duration(sum(seconds for _, seconds in self._taken)), style="bold")
        self.console.print(table)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
