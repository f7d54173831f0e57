"""What the launcher knows of the insides of CPython 3.11, and makes sure of, for its forks to write to fewer pages.

Whatever a function call writes is a page of the shim's own. Three kinds of such writes can be done without:

    counts  each object counts its references. `raise_counts` lifts the counts of all that lives by RAISE: no such
            object is ever freed, its count does not matter any more, and a count is known by its upper half
    code    a function's code counts its calls and, after eight, is rewritten in place for what it has met (PEP 659).
            `still` code is told that it has all this behind it: it runs as it was compiled, a fifth slower
    lookups one table in static memory remembers what attribute lookups found: `type_cache`. Entries tell what version
            of a type they are about; the launcher's stay true as long as it has not changed a type since

Other versions have other ways (3.12 has objects without counts) and are left alone.
"""

from __future__ import annotations

import array
import ctypes
import gc
import struct
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any, Final

from oci.routines import Routines

RAISE: Final = (1 << 40) + (1 << 24)
"""Far from what anybody counts up to, or down from. `oci.routines` knows the upper half."""

# struct PyCodeObject (Include/cpython/code.h): co_flags, an int, then co_warmup, a short: -8 in new code, 0 in code
# that counts no more.
_FLAGS_AT: Final = 48
_WARMUP_AT: Final = 52
_NEW: Final = -8

# struct type_cache_entry (Include/internal/pycore_typeobject.h): version, padding, name, value.
_ENTRY: Final = struct.Struct("=I4xQQ")
ENTRY_BYTES: Final = _ENTRY.size
_NAME_AT: Final = 8
_ENTRIES: Final = 4096
_RUNTIME_BYTES: Final = 1 << 18


def is_known() -> bool:
    if sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 11) or hasattr(sys, "gettotalrefcount"):
        return False
    probe = is_known.__code__.replace(co_name="probe")
    flags, warmup = struct.unpack("=ih", ctypes.string_at(id(probe) + _FLAGS_AT, 6))
    return bool(flags == probe.co_flags and warmup == _NEW)


def still(codes: Iterable[CodeType]) -> None:
    """Code that has been rewritten already stays so, and goes on to count."""
    for code in codes:
        warmup = ctypes.c_short.from_address(id(code) + _WARMUP_AT)
        if warmup.value < 0:
            warmup.value = 0


def all_code() -> list[CodeType]:
    """Of every function there is, and of those that they make."""
    found = [one.__code__ for one in gc.get_objects() if type(one) is FunctionType]
    for code in found:
        found += [one for one in code.co_consts if type(one) is CodeType]
    return found


def raise_counts(routines: Routines, cache: tuple[int, int] | None) -> None:
    """Once, before `gc.freeze`. What is not found is counted as ever. `cache` is where `type_cache` is."""
    living = gc.get_objects()
    near = gc.get_referents(*living)
    for code in all_code():
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
    if cache is not None:
        raise_names(routines, cache)


def raise_names(routines: Routines, cache: tuple[int, int]) -> None:
    """Of all entries at once: any lookup may drop one, and with it the last reference to its name."""
    routines.add(cache[0] + _NAME_AT, _ENTRIES, RAISE, _ENTRY.size)


def unsafe_entries(table: bytes) -> Iterator[tuple[int, bytes]]:
    """Offsets of entries of a type cache that must not come back once they have been overwritten, and what to put there
    after `raise_counts`: an entry owns a reference to its name, and one without is right only where counts are raised.
    """
    for index, (_, name, _) in enumerate(_ENTRY.iter_unpack(table)):
        # The name may be gone by now, and something else be there.
        if not name or ctypes.c_int64.from_address(name).value >> 32 != RAISE >> 32:
            yield index * _ENTRY.size, _ENTRY.pack(0, id(None), 0)


def type_cache() -> tuple[int, int] | None:
    """Start and end of the table; None when it is not where two lookups should have left their traces."""
    runtime: int = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
    places = {_place_of(number, runtime) for number in (1, 2)}
    start = places.pop()
    return None if places or start is None else (start, start + _ENTRIES * _ENTRY.size)


def _place_of(number: int, runtime: int) -> int | None:
    """Where the table starts if the entry of a fresh attribute is where the hash (MCACHE_HASH) says."""
    name = sys.intern(f"an attribute that nothing else has {number}")
    probe: Any = type("Probe", (), {name: number})
    getattr(probe, name)
    memory = ctypes.string_at(runtime, _RUNTIME_BYTES)
    at = memory.find(id(name).to_bytes(8, "little"))
    while at >= 0:
        version: int
        version, _, value = _ENTRY.unpack_from(memory, at - 8)
        index = (version ^ id(name) >> 3) % _ENTRIES
        if version and value == id(number) and at - 8 >= index * _ENTRY.size:
            return runtime + (at - 8 - index * _ENTRY.size)
        at = memory.find(id(name).to_bytes(8, "little"), at + 1)
    return None
