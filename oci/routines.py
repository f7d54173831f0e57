"""Three routines in machine code, for what must happen with nothing of the interpreter in between. Knows no policy.

Python cannot look at a page of its own memory and act on what it saw: to call a function is to write to memory, to that
very page perhaps. These run from their first to their last instruction and write to nothing but the stack and what they
are for; the caller blocks signals. `load` maps them from a sealed memfd, executable and never writable. x86-64 only:
elsewhere, and where the host maps no executable memory, there is None, and the caller does without. Their source, in
assembler, is in tests/unit/test_oci_routines.py, which compares.

    add(addresses, count, amount, stride)
        for address in addresses, each `stride` bytes after the one before:
            if address is not null and the upper half of *address is 0: *address += amount

    replace(ranges, count, fd) -> how many ranges were not reached
        for start, length, offset in ranges:
            pwrite(fd, start, length, offset) == length, else stop
            mmap(start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, offset) == start, else stop

    restore(ranges, count, pagemap) -> how many pages were given up
        for start, length, distance in ranges:
            for page, entry in the range and in the descriptor `pagemap` (Documentation/admin-guide/mm/pagemap.rst):
                if entry >> 61 == 4 (present, not swapped, not of a file) and page equals what is `distance` further:
                    madvise(page, 4096, MADV_DONTNEED)

Words whose upper halves are 256 are equal, whatever their lower halves are: counts of `oci.cpython`.

`ranges` are addresses of arrays of three 64-bit words each.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Callable
from typing import Final

from oci import syscalls
from oci.values import frozen

_REPLACE_AT: Final = 48
_RESTORE_AT: Final = 144
X86_64: Final = bytes.fromhex(
    "f30f1efa4885f67419488b074885c074098378040075034801104801cf48ffceebe231c0c366662e0f1f840000000000f30f1efa53554889"
    "fb4889f54989d04885ed74434489c7488b33488b53084c8b5310b8120000000f054839d075294889f74889d6ba030000004d89d141ba1200"
    "0000b8090000000f054839f875094883c31848ffcdebb84889e85d5bc30f1f00f30f1efa53554154415541564881ec000400004889fb4889"
    "f54189d44531c048ffcd0f88c90000004c8b2b4c8b73084d01ee4d39f50f83ad0000004489e74889e64c89f24c29ea48c1ea094881fa0004"
    "00007605ba000400004d89ea49c1ea09b8110000000f054839d0757c4989e14c8d1414498b0148c1e83d83f80475544c89ef4c89ee480373"
    "10b900020000488b07488b164839d0741348c1e82048c1ea2039d0752e3d0001000075274883c7084883c608ffc975d64c89efbe00100000"
    "ba04000000b81c0000000f0585c0750341ffc04981c5001000004983c1084d39d17290e94affffff4883c318e92effffff4489c04881c400"
    "040000415e415d415c5d5bc3"
)
_SEALS: Final = syscalls.F_SEAL_SEAL | syscalls.F_SEAL_SHRINK | syscalls.F_SEAL_GROW | syscalls.F_SEAL_WRITE


@frozen
class Routines:
    add: Callable[[int, int, int, int], int]
    replace: Callable[[int, int, int], int]
    restore: Callable[[int, int, int], int]


def load() -> Routines | None:
    if os.uname().machine != "x86_64" or mmap.PAGESIZE != 4096:
        return None
    memfd = os.memfd_create("coracle-routines", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(memfd, X86_64)
        fcntl.fcntl(memfd, syscalls.F_ADD_SEALS, _SEALS)
        code = syscalls.mmap(mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC, memfd)
    except PermissionError:
        return None
    finally:
        os.close(memfd)
    # The interpreter's lock stays held: nobody else may run meanwhile.
    word = ctypes.c_uint64
    routine = ctypes.PYFUNCTYPE(ctypes.c_long, word, word, word)
    add = ctypes.PYFUNCTYPE(ctypes.c_long, word, word, word, word)
    return Routines(add=add(code), replace=routine(code + _REPLACE_AT), restore=routine(code + _RESTORE_AT))
