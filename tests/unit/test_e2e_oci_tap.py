"""What the suites print, as cases."""

from __future__ import annotations

from e2e.oci.tap import Outcome, parse
from e2e.oci.validation import judge
from e2e.oci.verdict import groups, summary


def test_cases_of_crun() -> None:
    report = parse(
        [
            "1..4",
            "ok 1 - one # 0.1s",
            "ok 2 - two #SKIP requires cgroup v2 # 0.0s",
            "# Output: it broke",
            "not ok 3 - three # 0.2s",
            "ok 4 - four #SKIP mount failed: permission denied # 0.2s",
        ]
    )
    assert report.planned == 4
    outcomes = [(case.name, case.outcome) for case in report.cases]
    assert outcomes == [
        ("one", Outcome.PASSED),
        ("two", Outcome.SKIPPED),
        ("three", Outcome.FAILED),
        ("four", Outcome.FAILED),
    ]
    assert report.cases[2].reason == "Output: it broke"


def test_a_program_is_clean_without_failures() -> None:
    assert judge("a", 0, "TAP version 13\nok 1 - x\n1..1\n").outcome is Outcome.PASSED
    assert judge("a", 0, "TAP version 13\n1..0\n").outcome is Outcome.PASSED
    assert judge("a", 0, "ok 1 - x\nnot ok 2 - y\n1..2\n").outcome is Outcome.FAILED
    assert judge("a", 1, "boom\n").reason == "status 1: boom"
    assert judge("a", None, "").outcome is Outcome.FAILED
    assert judge("a", 0, "ok 1 # SKIP no cgroup v2\n1..1\n").outcome is Outcome.SKIPPED


def test_excused_cases_do_not_count_as_fair() -> None:
    excused = groups()
    name = next(iter(excused))
    cases = parse([f"not ok 1 - {name}", "ok 2 - fair"]).cases
    assert summary(cases, excused)[-1] == "fair: 1 of 1 pass; all: 1 of 2 pass"
