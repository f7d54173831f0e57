"""What a run of the suite says: read from ginkgo's JSON report. Pure but for reading the file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    name: str
    state: str
    """passed, failed, skipped, or another word of ginkgo's."""
    reason: str
    seconds: float


def read(path: Path) -> list[Spec]:
    suites = json.loads(path.read_text())
    return [
        _spec(report)
        for suite in suites
        for report in suite.get("SpecReports") or ()
        if report.get("LeafNodeType") == "It"
    ]


def summary(specs: list[Spec]) -> list[str]:
    """Lines: each failure with why, each group of skipped specs with why, then the totals."""
    lines = []
    for spec in specs:
        if spec.state not in ("passed", "skipped", "pending"):
            lines += [f"FAILED  {spec.name}", f"        {spec.reason}"]
    reasons: dict[str, int] = {}
    for spec in specs:
        if spec.state in ("skipped", "pending"):
            reasons[spec.reason] = reasons.get(spec.reason, 0) + 1
    lines += [f"skipped {count:3}  {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])]
    passed = sum(spec.state == "passed" for spec in specs)
    skipped = sum(reasons.values())
    lines.append(f"{passed} passed, {len(specs) - passed - skipped} failed, {skipped} skipped")
    return lines


def _spec(report: dict[str, object]) -> Spec:
    containers = report.get("ContainerHierarchyTexts")
    words = [*(containers if isinstance(containers, list) else []), report.get("LeafNodeText", "")]
    failure = report.get("Failure")
    message = failure.get("Message", "") if isinstance(failure, dict) else ""
    run_time = report.get("RunTime")
    return Spec(
        name=" ".join(str(word) for word in words),
        state=str(report.get("State")),
        reason=" ".join(str(message).split())[:400] or "not selected by this run",
        seconds=(run_time if isinstance(run_time, int | float) else 0) / 1e9,
    )
