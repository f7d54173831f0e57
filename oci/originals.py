"""The launcher's memory as a file that its forks map privately; pages that are again what they were are shared again.

A fork of CPython soon has pages of its own, for nothing: counting references writes to nearly every page that it looks
at, and most of those writes cancel each other. An anonymous page, once copied, stays copied. A private mapping of a
file can go back: MADV_DONTNEED gives the copy up, and the next access finds the file's page, which all share.

    keep()       in the launcher, when everything has been imported and rehearsed: its private, writable memory becomes
                 a private mapping of a sealed memfd with the same content
    restore()    in the launcher and in every shim, when there is nothing to do: each page of its own is compared with
                 the file's and given up where they are equal, which changes nothing that anybody could notice

Equal is also what differs only in reference counts that do not matter (`oci.cpython`).

Nothing may be written between the look and the act, so both are done by `oci.routines`, with signals blocked. A range
that has been unmapped since has no pages; what is mapped in its place differs. The file can be neither changed nor
executed, and no descriptor of it stays open.
"""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import signal
from _signal import pthread_sigmask  # type: ignore[import-not-found] # without the enums of its Python half
from typing import Final

from oci import syscalls
from oci.merging import writable_mappings
from oci.routines import Routines

_ALL_SIGNALS: Final = frozenset(range(1, 32))
_SEALS: Final = syscalls.F_SEAL_SEAL | syscalls.F_SEAL_SHRINK | syscalls.F_SEAL_GROW | syscalls.F_SEAL_WRITE
_SIG_BLOCK: Final = int(signal.SIG_BLOCK)
_SIG_SETMASK: Final = int(signal.SIG_SETMASK)
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC
_PAGE: Final = mmap.PAGESIZE
_WORD: Final = 1 << 64


class Originals:
    """`ranges` holds three words for each: its start, its length, and how far from it the file is mapped."""

    __slots__ = ("_address", "_count", "_ranges", "_routine")

    def __init__(self, routines: Routines, ranges: array.array[int]) -> None:
        self._routine = routines.restore
        self._ranges = ranges
        self._address, words = ranges.buffer_info()
        self._count = words // 3

    def restore(self) -> int:
        """How many pages were given up."""
        try:
            pagemap = os.open("/proc/self/pagemap", _FLAGS)  # of this process: a fork's is another
        except OSError:
            return 0  # not ours to read in some user namespaces, or no descriptor to be had just now
        mask = pthread_sigmask(_SIG_BLOCK, _ALL_SIGNALS)
        given_up = self._routine(self._address, self._count, pagemap)
        pthread_sigmask(_SIG_SETMASK, mask)
        os.close(pagemap)
        return given_up


def keep(routines: Routines) -> Originals:
    """After `cpython.raise_counts`, where that can be. Raises OSError; nothing is lost then."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        found = list(writable_mappings(file.read()))
    size = sum(end - start for start, end in found)
    memfd = os.memfd_create("coracle-memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(memfd, size)
        distance = syscalls.mmap(size, mmap.PROT_READ, memfd)
        replaced, compared = array.array("Q"), array.array("Q")
        offset = 0
        for start, end in found:
            replaced.extend((start, end - start, offset))
            compared.extend((start, end - start, (distance + offset - start) % _WORD))
            offset += end - start
        originals = Originals(routines, compared)
        _replace(routines, replaced, memfd)
        fcntl.fcntl(memfd, syscalls.F_ADD_SEALS, _SEALS)
    finally:
        os.close(memfd)
    return originals


def _replace(routines: Routines, ranges: array.array[int], memfd: int) -> None:
    address, words = ranges.buffer_info()
    mask = pthread_sigmask(_SIG_BLOCK, _ALL_SIGNALS)
    left = routines.replace(address, words // 3, memfd)
    pthread_sigmask(_SIG_SETMASK, mask)
    if left:
        raise OSError(0, f"{left} of {words // 3} ranges of memory could not be mapped from a file")
