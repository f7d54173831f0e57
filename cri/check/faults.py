"""What a check finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Repair = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Two looks found the same fault when `subject` and `problem` are the same."""

    subject: str
    """Which thing, as an operator names it: "layer sha256:... (of docker.io/library/busybox:1)"."""
    problem: str
    remedy: str
    """What to do where no repair can, or where it failed."""
    repair: Repair | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """How far the check is: `done` of `total` things of the part."""

    part: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A fault and what became of it: `failure` says why a repair did not help."""

    fault: Fault
    repaired: bool = False
    failure: str = ""
