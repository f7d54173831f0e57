"""The benchmark's command line: `python -m e2e.bench`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from e2e.bench import crowd, latency, logs, parallel, pulls
from e2e.bench.bed import Contender, bench_bed
from e2e.bench.report import Results, print_table, write_json
from e2e.processes import leave_on_termination

_GROUPS = ("latency", "parallel", "logs", "pulls", "crowd")


@click.command()
@click.option("--runtime", "runtimes", default="coracle,containerd", show_default=True, help="Which, by commas.")
@click.option("--only", "groups", default=",".join(_GROUPS), show_default=True, help="Groups of measures, by commas.")
@click.option("--runs", default=60, show_default=True, help="Pods of the latency measures, for each runtime.")
@click.option("--pods", default=50, show_default=True, help="Pods of the crowd.")
@click.option("--megabytes", default=200, show_default=True, help="Size of the log.")
@click.option("--idle", default=20, show_default=True, help="Seconds of the idle measure.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where the disk image is made.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write the results there too.")
def main(
    runtimes: str,
    groups: str,
    runs: int,
    pods: int,
    megabytes: int,
    idle: int,
    directory: Path | None,
    output: Path | None,
) -> None:
    """Measures CRI runtimes side by side: latencies, rates, memory, logs, pulls. Needs root and a quiet machine."""
    if os.geteuid() != 0:
        sys.exit("the benchmark needs root")
    leave_on_termination()
    console = Console() if sys.stdout.isatty() else Console(width=120)
    chosen = [group.strip() for group in groups.split(",")]
    single: dict[str, Callable[[Contender], list[dict[str, float]]]] = {
        "parallel": lambda one: [parallel.execs(one, 200), parallel.pods(one, 40)],
        "logs": lambda one: [logs.measure(one, megabytes)],
        "pulls": lambda one: [pulls.measure(one, 3)],
        "crowd": lambda one: [crowd.measure(one, pods, idle)],
    }
    with bench_bed(runtimes.split(","), base=directory) as contenders:
        results = Results(versions={one.name: one.runtime.version() for one in contenders})
        if "latency" in chosen:
            console.print(f"latency: {runs} pods each, in turns")
            for name, series in latency.measure(contenders, runs).items():
                results.add_series(name, series)
        for group in (group for group in single if group in chosen):
            for contender in contenders:
                console.print(f"{group}: {contender.name}")
                for figures in single[group](contender):
                    results.add(contender.name, figures)
    print_table(console, results)
    if output is not None:
        write_json(output, results)


if __name__ == "__main__":
    main()
