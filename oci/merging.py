"""Equal pages of the shims are one page: this process's memory, and that of its forks, offered to KSM.

A fork of CPython soon has pages of its own, for nothing: counting references writes to nearly every page that it looks
at, and most of those writes cancel each other, so the pages are copies of what they were. The kernel's same-page
merging (Documentation/admin-guide/mm/ksm.rst) finds them: fifty shims go from 1.3 MB each to 0.2.

The offer is made for the mappings there are (MADV_MERGEABLE), not for the process (PR_SET_MEMORY_MERGE): mappings end
with execve, so a container's memory is never merged. Whether KSM runs is the host's affair (`cri.page_merging`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from oci import syscalls


def let_pages_merge(maps: str = "/proc/self/maps") -> bool:
    """Offer every private, writable mapping; False when the kernel has no KSM."""
    with open(maps, encoding="utf-8", errors="surrogateescape") as file:
        ranges = list(writable_mappings(file.read()))
    for start, end in ranges:
        try:
            syscalls.madvise(start, end - start, syscalls.MADV_MERGEABLE)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
    return True


def writable_mappings(maps: str) -> Iterator[tuple[int, int]]:
    """Start and end of each private, writable mapping of proc(5)'s maps file; the stack is not worth it."""
    for line in maps.splitlines():
        addresses, access, _offset, _device, _inode, *name = line.split(maxsplit=5)
        if access == "rw-p" and name != ["[stack]"]:
            start, _, end = addresses.partition("-")
            yield int(start, 16), int(end, 16)
