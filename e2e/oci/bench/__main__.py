"""python -m e2e.oci.bench: medians and ratios, with the goals for them."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol

import click
from rich.console import Console
from rich.table import Table

from e2e import debian
from e2e.oci.bench import bundle, installed
from e2e.oci.bench.library import Library
from e2e.oci.bench.programs import Program
from e2e.paths import ROOT

# (contender, measure, share of, its measure) -> at most
_GOALS: Final = (
    ("library", "run", "crun", "run", 0.6),
    ("library", "exec", "crun", "exec", 0.6),
    ("installed", "run", "runc", "run", 1.0),
)
_STATE_GOAL: Final = 25.0
_ORDER: Final = ("run", "create+start+delete", "exec", "state")


class Contender(Protocol):
    name: str

    def open(self) -> None: ...
    def close(self) -> None: ...


@click.command()
@click.option("--runs", default=40, show_default=True, help="Rounds; in each everyone does everything once.")
def main(runs: int) -> None:
    """Measures OCI runtimes side by side. Needs root and a quiet machine."""
    if os.geteuid() != 0:
        sys.exit("the benchmark needs root")
    samples: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coracle-oci-bench-")))
        contenders = _contenders(directory)
        for contender in contenders:
            contender.open()
            stack.callback(contender.close)
        for _ in range(runs):
            for contender in contenders:
                for measure, take in contender.measures().items():
                    samples.setdefault((contender.name, measure), []).append(take())
    medians = {key: statistics.median(values) for key, values in samples.items()}
    _print(Console(width=100), [one.name for one in contenders], samples)
    for name, measure, other, others_measure, limit in _GOALS:
        ratio = medians[name, measure] / medians[other, others_measure]
        verdict = "yes" if ratio <= limit else "NO"
        click.echo(f"{name} {measure} / {other} {others_measure}: {ratio:.2f} (<= {limit:g}: {verdict})")
    state = medians["installed", "state"]
    click.echo(f"installed state: {state:.1f} ms (<= {_STATE_GOAL:g}: {'yes' if state <= _STATE_GOAL else 'NO'})")


def _contenders(directory: Path) -> list[Program | Library]:
    ours = {
        "installed": [str(installed.install())],
        "venv": [str(Path(sys.executable).parent / "coracle-oci")],
    }
    peers = {name: [str(debian.program(name, f"usr/bin/{name}", f"usr/sbin/{name}"))] for name in ("crun", "runc")}
    made: list[Program | Library] = []
    prefix = f"/coracle-oci-bench-{os.getpid()}"
    for name, command in {**ours, **peers}.items():
        true = bundle.make(directory / name / "true", "/true", f"{prefix}-{name}-true")
        pause = bundle.make(directory / name / "pause", "/pause", f"{prefix}-{name}-pause")
        made.append(Program(name=name, command=command, state=directory / name / "state", true=true, pause=pause))
    true = bundle.make(directory / "library/true", "/true", f"{prefix}-library-true")
    pause = bundle.make(directory / "library/pause", "/pause", f"{prefix}-library-pause")
    return [*made, Library(true, pause)]


def _print(console: Console, names: list[str], samples: dict[tuple[str, str], list[float]]) -> None:
    table = Table(title=f"milliseconds: median (first quartile), from {ROOT.name}", title_justify="left")
    table.add_column("measure")
    for name in names:
        table.add_column(name, justify="right")
    for measure in _ORDER:
        cells = [samples.get((name, measure)) for name in names]
        table.add_row(measure, *("-" if cell is None else _figure(cell) for cell in cells))
    console.print(table)


def _figure(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({sorted(values)[len(values) // 4]:.1f})"


if __name__ == "__main__":
    main()
