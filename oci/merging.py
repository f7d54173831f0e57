"""Equal pages of the shims are one page: this process's memory, and that of its forks, offered to KSM.

What shims do is much the same, so they come to have the same pages, each its own. The kernel's same-page merging
(Documentation/admin-guide/mm/ksm.rst) finds those that `oci.originals` could not give back at once, a minute later.

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
