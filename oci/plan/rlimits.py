"""Resource limits by name (getrlimit(2)). Pure."""

from __future__ import annotations

from oci.errors import SpecError
from oci.spec import Rlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

_INFINITY: Final = 0xFFFF_FFFF_FFFF_FFFF

# asm-generic/resource.h, in its order.
_NAMES: Final = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
    "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
NUMBERS: Final = {f"RLIMIT_{name}": number for number, name in enumerate(_NAMES)}


def resolve_rlimits(rlimits: Iterable[Rlimit], field: str = "process.rlimits") -> tuple[tuple[str, int, int, int], ...]:
    """(name, number, soft, hard) of each; -1 is unlimited, as prlimit(2) has it."""
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
    # What does not fit a signed number is beyond any limit a kernel knows.
    return -1 if limit == _INFINITY or limit > 0x7FFF_FFFF_FFFF_FFFF else limit
