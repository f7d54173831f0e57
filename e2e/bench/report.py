"""The results as a table with ratios and goals, and as JSON."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from e2e.bench.goals import MEASURES, Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One figure; p90 where it is the median of a series."""

    value: float
    p90: float | None = None

    @classmethod
    def of_series(cls, samples: Sequence[float]) -> Value:
        ordered = sorted(samples)
        return cls(value=statistics.median(ordered), p90=ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    versions: Mapping[str, str]
    values: dict[str, dict[str, Value]] = field(default_factory=dict)
    """By runtime, then by measure."""

    def add(self, runtime: str, figures: Mapping[str, float]) -> None:
        self.values.setdefault(runtime, {}).update({name: Value(value=value) for name, value in figures.items()})

    def add_series(self, runtime: str, series: Mapping[str, Sequence[float]]) -> None:
        self.values.setdefault(runtime, {}).update(
            {name: Value.of_series(samples) for name, samples in series.items() if samples}
        )


def print_table(console: Console, results: Results) -> None:
    runtimes = list(results.values)
    ours, peer = "coracle", next((name for name in runtimes if name != "coracle"), None)
    table = Table(title=f"{platform.release()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", title_justify="left")
    table.add_column("measure")
    for name in runtimes:
        table.add_column(f"{name} {results.versions[name]}", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("goal", justify="right")
    for measure in MEASURES:
        if not any(measure.name in results.values[name] for name in runtimes):
            continue
        row = [f"{measure.title}, {measure.unit}"]
        row += [_figure(results.values[name].get(measure.name)) for name in runtimes]
        row += [_ratio(results, ours, peer, measure), _goal(measure, results.values.get(ours, {}).get(measure.name))]
        table.add_row(*row)
    console.print(table)
    console.print("Latencies: p50 (p90). Ratio: coracle's share of the peer's figure.", style="dim")


def write_json(path: Path, results: Results) -> None:
    document = {
        "kernel": platform.release(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": dict(results.versions),
        "values": {
            runtime: {name: [value.value, value.p90] for name, value in values.items()}
            for runtime, values in results.values.items()
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _figure(value: Value | None) -> str:
    if value is None:
        return "-"
    return _short(value.value) if value.p90 is None else f"{_short(value.value)} ({_short(value.p90)})"


def _short(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _ratio(results: Results, ours: str, peer: str | None, measure: Measure) -> str:
    if peer is None or ours not in results.values:
        return "-"
    mine, theirs = results.values[ours].get(measure.name), results.values[peer].get(measure.name)
    if mine is None or theirs is None or not theirs.value:
        return "-"
    ratio = mine.value / theirs.value
    limit = "" if measure.ratio is None else f" (<= {measure.ratio:g}: {'yes' if ratio <= measure.ratio else 'NO'})"
    return f"{ratio:.2f}{limit}"


def _goal(measure: Measure, value: Value | None) -> str:
    if measure.goal is None:
        return ""
    met = None if value is None else measure.met(value.value)
    return f"{measure.goal:g}" + ("" if met is None else " yes" if met else " NO")
