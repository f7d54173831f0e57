"""What a check answers. `warn` is for what works but should not stay so, `fail` for what pods will meet."""

from __future__ import annotations

import enum

from oci.values import frozen


class Verdict(enum.Enum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@frozen
class Result:
    """`advice` is what to do, empty when there is nothing."""

    group: str
    name: str
    verdict: Verdict
    seen: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "group": self.group,
            "name": self.name,
            "verdict": self.verdict.value,
            "seen": self.seen,
            "advice": self.advice,
        }


def ok(group: str, name: str, seen: str) -> Result:
    return Result(group=group, name=name, verdict=Verdict.OK, seen=seen)


def warn(group: str, name: str, seen: str, advice: str) -> Result:
    return Result(group=group, name=name, verdict=Verdict.WARN, seen=seen, advice=advice)


def fail(group: str, name: str, seen: str, advice: str) -> Result:
    return Result(group=group, name=name, verdict=Verdict.FAIL, seen=seen, advice=advice)
