"""Resource limits by name (getrlimit(2)). Pure."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from typing import Final

from oci.errors import SpecError
from oci.spec import Rlimit

_INFINITY: Final = 0xFFFF_FFFF_FFFF_FFFF

# RLIMIT_LOCKS has no constant in Python (asm-generic/resource.h).
NUMBERS: Final = {
    "RLIMIT_LOCKS": 10,
    **{name: getattr(resource, name) for name in (
        "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE",
        "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
        "RLIMIT_SIGPENDING", "RLIMIT_STACK",
    )},
}  # fmt: skip


def resolve_rlimits(rlimits: Iterable[Rlimit], field: str = "process.rlimits") -> tuple[tuple[str, int, int, int], ...]:
    """(name, number, soft, hard) of each; -1 is unlimited, as `resource.setrlimit` has it."""
    resolved = []
    seen = set()
    for index, limit in enumerate(rlimits):
        where = f"{field}[{index}].type"
        number = NUMBERS.get(limit.type)
        if number is None:
            raise SpecError(where, f"{limit.type!r} is not a resource limit of this kernel")
        if limit.type in seen:
            raise SpecError(where, f"{limit.type} is given twice")
        seen.add(limit.type)
        if limit.soft > limit.hard:
            raise SpecError(f"{field}[{index}].soft", f"{limit.soft} is more than the hard limit {limit.hard}")
        resolved.append((limit.type, number, _value(limit.soft), _value(limit.hard)))
    return tuple(resolved)


def _value(limit: int) -> int:
    # setrlimit takes a signed long in Python; what does not fit is beyond any limit a kernel knows.
    return -1 if limit == _INFINITY or limit > 0x7FFF_FFFF_FFFF_FFFF else limit
