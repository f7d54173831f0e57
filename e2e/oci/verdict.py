"""Counts over a suite's cases, against what can be asked of any runtime on a given kind of machine. Pure.

`cases.json` names crun's cases that are no measure of another runtime: those a cgroup v1 machine without systemd
cannot run, those that test crun's own inventions, those that are wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from e2e.oci.tap import Case, Outcome

GROUPS = ("impossible", "defective", "crun")


def groups() -> dict[str, str]:
    """Case -> why it is not fair."""
    document = json.loads((Path(__file__).parent / "cases.json").read_text())
    return {name: group for group in GROUPS for name in document[group]}


def summary(cases: Sequence[Case], excused: dict[str, str]) -> list[str]:
    """A line for each case that did not pass, then the counts."""
    lines = []
    for case in cases:
        if case.outcome is not Outcome.PASSED:
            group = excused.get(case.name)
            mark = f"({group})" if group else "FAIR"
            lines.append(f"{case.outcome.value:8} {mark:13} {case.name}: {case.reason}")
    fair = [case for case in cases if case.name not in excused]
    lines.append(f"fair: {_passed(fair)} of {len(fair)} pass; all: {_passed(cases)} of {len(cases)} pass")
    return lines


def _passed(cases: Iterable[Case]) -> int:
    return sum(case.outcome is Outcome.PASSED for case in cases)
