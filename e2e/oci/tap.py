"""The Test Anything Protocol as the two suites speak it. Pure.

A case counts as passed only when it says "ok" and was not skipped for an error: many cases of crun's suite skip
themselves whenever the runtime fails with a text that contains a certain word, which would hide every such failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

_LINE: Final = re.compile(r"^(?P<not>not )?ok\b(?: (?P<number>\d+))?(?: - )?(?P<rest>.*)$")
_DIRECTIVE: Final = re.compile(r"\s*#\s*(?P<word>SKIP|TODO)\b:?\s*(?P<reason>.*)$", re.IGNORECASE)
_SECONDS: Final = re.compile(r"\s*#\s*\d+\.\d+s$")
_ERROR: Final = re.compile(
    r"error|fail|cannot|could not|unable|denied|not permitted|no such|invalid|exit status|refused|exception",
    re.IGNORECASE,
)


class Outcome(Enum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`planned` is None for output without a plan: the program died before it could print one."""

    cases: tuple[Case, ...]
    planned: int | None


def parse(lines: Iterable[str]) -> Report:
    cases: list[Case] = []
    planned = None
    remarks: list[str] = []
    for line in lines:
        line = line.rstrip("\r\n")
        if match := re.match(r"^1\.\.(\d+)", line):
            planned = int(match[1])
        elif match := _LINE.match(line):
            cases.append(_case(match["rest"], failed=bool(match["not"]), remarks=remarks))
            remarks = []
        else:
            remarks.append(line.removeprefix("# ").strip())
    return Report(cases=tuple(cases), planned=planned)


def _case(rest: str, *, failed: bool, remarks: list[str]) -> Case:
    rest = _SECONDS.sub("", rest)
    if match := _DIRECTIVE.search(rest):
        name, reason = rest[: match.start()].strip(), match["reason"].strip()
        hides_error = failed or _ERROR.search(reason)
        return Case(name=name, outcome=Outcome.FAILED if hides_error else Outcome.SKIPPED, reason=reason)
    outcome = Outcome.FAILED if failed else Outcome.PASSED
    return Case(name=rest.strip(), outcome=outcome, reason=_explain(remarks) if failed else "")


def _explain(remarks: list[str]) -> str:
    told = [remark for remark in remarks if remark and ("output:" in remark.lower() or "message:" in remark.lower())]
    return " | ".join((told or [remark for remark in remarks if remark])[-3:])[:400]
