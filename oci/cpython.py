"""Reference counts that do not matter: of all that the launcher's forks share, so that pages differ in nothing else.

Each object counts its references in its first word. `raise_counts` lifts the counts of all that lives by RAISE: no such
object is ever freed, its count does not matter any more, and a count is known by its upper half. Debug builds have
other words first, and from 3.12 on there are objects without counts: those are left alone.
"""

from __future__ import annotations

import array
import gc
import sys
from types import CodeType, FunctionType
from typing import Final

from oci.routines import Routines

RAISE: Final = (1 << 40) + (1 << 24)
"""Far from what anybody counts up to, or down from. `oci.routines` knows the upper half."""


def counts_come_first() -> bool:
    return sys.implementation.name == "cpython" and sys.version_info < (3, 12) and not hasattr(sys, "gettotalrefcount")


def raise_counts(routines: Routines) -> None:
    """Once, before `gc.freeze`. What is not found is counted as ever."""
    living = gc.get_objects()
    near = gc.get_referents(*living)
    for code in _all_code():
        near += (code, code.co_consts, code.co_names, code.co_name, code.co_qualname, code.co_filename)
        near += (code.co_linetable, code.co_exceptiontable, *code.co_varnames)
    near += (*range(-5, 257), *map(chr, range(256)), *(bytes((byte,)) for byte in range(256)), "", b"", ())
    found = dict(zip(map(id, near), near, strict=True))
    further = gc.get_referents(*[one for one in found.values() if not gc.is_tracked(one)])  # the others are `living`
    found.update(zip(map(id, living), living, strict=True))
    found.update(zip(map(id, further), further, strict=True))
    for own in living, near, found, further:
        found.pop(id(own), None)
    addresses = array.array("Q", found)
    routines.add(addresses.buffer_info()[0], len(addresses), RAISE, 8)


def _all_code() -> list[CodeType]:
    """Of every function there is, and of those that they make."""
    found = [one.__code__ for one in gc.get_objects() if type(one) is FunctionType]
    for code in found:
        found += [one for one in code.co_consts if type(one) is CodeType]
    return found
