"""Conversions between the units of cgroup v1, in which config.json speaks, and those of v2. Pure.

Also owns `Setting`, the value that the planners of both versions produce and the drivers carry out.
"""

from __future__ import annotations

import math

from oci.errors import SpecError
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

UNLIMITED: Final = -1


@frozen
class Setting:
    """Write `value` to `file`. `choices` are (file, value) pairs, of which the first file that exists is used.

    `controller` is who must be there; with `optional` a host without any of the files is passed over.
    """

    controller: str
    choices: tuple[tuple[str, str], ...]
    optional: bool = False


def setting(controller: str, file: str, value: object, *, optional: bool = False) -> Setting:
    return Setting(controller=controller, choices=((file, str(value)),), optional=optional)


def is_set(limit: int | None) -> bool:
    """Zero means "not set" for memory sizes and cpu times, as every caller of OCI runtimes expects."""
    return limit is not None and limit != 0


def shares_to_weight(shares: int) -> int:
    """cpu.shares (2..262144, default 1024) as cpu.weight (1..10000, default 100).

    A straight line through both ranges would turn the default 1024 into 39 and starve containers beside processes that
    have v2's default. This curve, a parabola in log2(shares), maps minimum, default and maximum onto each other.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10_000
    exponent = math.log2(shares)
    weight = 10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34)
    return min(10_000, math.ceil(weight - 1e-9))


def weight_to_shares(weight: int) -> int:
    """The smallest cpu.shares that `shares_to_weight` turns into `weight`."""
    low, high = 2, 262144
    while low < high:
        middle = (low + high) // 2
        if shares_to_weight(middle) < weight:
            low = middle + 1
        else:
            high = middle
    return low


def block_weight_to_io(weight: int) -> int:
    """blkio.weight (10..1000) as io.weight (1..10000)."""
    return 1 + (weight - 10) * 9999 // 990


def cpu_max(quota: int | None, period: int | None, current_quota: int = UNLIMITED) -> str:
    """The line for cpu.max; what is not set keeps its value. A negative quota is no limit."""
    amount = current_quota if quota is None or quota == 0 else quota
    text = size(amount)
    return f"{text} {period}" if is_set(period) else text


def size(limit: int) -> str:
    """A limit of v2 in bytes or numbers; negative is no limit."""
    return "max" if limit < 0 else str(limit)


def swap_only(limit: int | None, memory_and_swap: int | None) -> str | None:
    """memory.swap.max from v1's sum of memory and swap; None leaves it."""
    if memory_and_swap == 0 and limit is None:  # said so, and not the sum of anything: no swap
        return "0"
    if not is_set(memory_and_swap):
        return "max" if limit == UNLIMITED else None
    assert memory_and_swap is not None
    if memory_and_swap < 0:
        return "max"
    if not is_set(limit) or limit is None or limit < 0:
        raise SpecError("linux.resources.memory.swap", "needs a memory limit as well (it is their sum)")
    check_swap(limit, memory_and_swap)
    return str(memory_and_swap - limit)


def check_swap(limit: int | None, memory_and_swap: int | None) -> None:
    if limit is not None and memory_and_swap is not None and 0 < memory_and_swap < limit:
        problem = f"{memory_and_swap} is below the memory limit {limit} (it is the sum of memory and swap)"
        raise SpecError("linux.resources.memory.swap", problem)
